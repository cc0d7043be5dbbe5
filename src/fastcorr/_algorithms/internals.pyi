# SPDX-License-Identifier: BSD-3-Clause
# The stub of every algorithm's module: what one offers is the business of _plan alone.
from typing import Any

def __getattr__(name: str) -> Any: ...
