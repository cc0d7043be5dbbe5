# SPDX-License-Identifier: BSD-3-Clause
"""The asv suite and the list of cases; asv wants this folder to be a package."""
