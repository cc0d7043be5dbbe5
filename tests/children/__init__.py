# SPDX-License-Identifier: BSD-3-Clause
"""Programs that the tests run in processes of their own; each prints one line of JSON."""
