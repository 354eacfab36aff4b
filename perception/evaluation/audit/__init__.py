"""Can an attack, or a defence, be believed?"""
