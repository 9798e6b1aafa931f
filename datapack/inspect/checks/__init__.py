"""The checks: from a survey to findings. Each module lists its rules in ``RULES``, its checks in ``CHECKS``.

In their code, a list is a COCO file.
"""
