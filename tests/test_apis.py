"""Loading a detector where other libraries have meddled with logging."""

import logging

from mmengine.logging import MMLogger
from tiny_kitti import write_config, write_kitti

from perception.apis import load_detector


def test_closed_log_files_do_not_matter(tmp_path, repo_root):
    data = write_kitti(tmp_path / "kitti")
    config = write_config(
        tmp_path / "config.py", data, repo_root / "configs/synthetic/concat.py"
    )
    logger = MMLogger.get_current_instance()
    handler = logging.FileHandler(tmp_path / "run.log", mode="w")
    logger.addHandler(handler)
    handler.close()
    try:
        assert not load_detector(config).training
        assert handler not in logger.handlers
    finally:
        logger.removeHandler(handler)
