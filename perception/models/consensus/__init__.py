"""Aggregators: predictions of each sensor and expert to one prediction, with bounds.

Every sensor predicts by itself (its *branch prediction* v_j); every leave-one-out
expert e_i predicts from all sensors but i, e_S from all. Benign sensors tell the truth
as well as they can; a compromised one may say anything at all.

**Median** (Yin et al., "Byzantine-robust distributed learning: towards optimal
statistical rates", ICML 2018, fuse gradients so). Of the S branch predictions of a
number (a class logit, a side of a box), leave out the smallest and the largest; the
rest spans the *consensus interval*. At most one number is a lie, so the second smallest
of all is at least the smallest benign one, the second largest at most the largest. What
is clamped to the interval, widened by a margin, lies within [smallest benign - margin,
largest benign + margin]. (For boxes the margin is a fraction, of at most 1: beyond, the
larger of two numbers less its margin may be the smaller.)

**Consensus** asks the experts too. If i is compromised, v_j for all j != i and e_i are
benign, and e_i is nearly as good as all sensors together. What lies between the
smallest and the largest of these is safe then; safe whoever is compromised is

    low = max_i min(v_j for j != i, e_i),  high = min_i max(v_j for j != i, e_i),

which is never empty and holds the median. An object that one of two benign sensors
misses could still be hidden. *Logit slack* lets e_i raise the low end of a class logit:
low = max_i min(e_i, slack + min(v_j for j != i, e_i)), high no lower. (Not of
centre-ness: that helps no object, and ghosts.) *Box contraction* lets e_i move both
ends for boxes towards its own word, within the interval: no bound changes by it.

*Angles*, which heads of boxes in metres say, are turns from the circular median of the
branch predictions, see :mod:`perception.models.consensus.directions`; all else that
these heads say (offset, log-depth, log-size) is numbers like any other.

**The gate** compares each pair of branch predictions by two measures; benign frames
give mean and deviation of their logarithms. A sensor that two others contradict by
``attribution_threshold`` deviations is left out; a pair above ``alarm_threshold`` and
nobody to attribute it to is an *alarm*: no margin. *Nobody can be framed*: a
compromised sensor is a single witness, and what two benign ones say of each other it
does not touch. (Comparing with the majority lacks this: a compromised sensor that sides
with one benign sensor is the majority.) If two contradict each other by more than
``attribution_threshold``, one of these two *suspects* is compromised, the others are
cleared.

**Certificate.** Let sensor i be compromised and the benign sensors contradict each
other by less than ``attribution_threshold``. Then i is never cleared, no other is left
out, and every output lies within [min(v_j for j != i, e_i) - margin, max(...) + margin]
(median: without e_i), none of which sensor i has touched. With logit slack, class
logits are at least min(e_i, slack + min(...)) - margin, which is more, and at most the
larger of max(...) and slack + the second smallest benign v, + margin: a lie in the
words of e_j raises the low end to no more than slack above the least benign one but
v_j, and that is at most the second smallest.
"""
