# SPDX-License-Identifier: BSD-3-Clause
"""The algorithms behind `_plan.ALGORITHMS`: loops over tiles around the micro-kernels."""
