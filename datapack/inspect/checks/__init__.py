"""The checks: from a survey to findings. Each module lists its rules in ``RULES``, its checks in ``CHECKS``."""
