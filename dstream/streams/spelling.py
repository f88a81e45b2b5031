"""What is not there under the name that was written, but maybe under another one: Spark's names are spelt otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from elastic.callables import add_query_room, caller, did_you_mean

add_query_room(__file__)

ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "mapWithState": "write track(initialize, update, timeout)",
        "saveAsTextFiles": "write save_as_text_files(directory)",
        "transformWith": "write transform_with(function, other)",
        "getOrCreate": "write the program anew, and go on with context.run(resume=True) or context.start(resume=True)",
        "sparkContext": "there is none below: the context itself has parallelize and text_file",
        "awaitTerminationOrTimeout": "write await_termination(timeout)",
        "addStreamingListener": "write add_listener(listener)",
    }
)
"""Names of Spark's that are more than another spelling."""


class Spelling:
    """Says what a method is called here."""

    if not TYPE_CHECKING:  # a type checker is to know only what there is

        def __getattr__(self, name: str) -> NoReturn:
            kind = type(self).__name__
            if name.startswith("_"):
                raise AttributeError(f"{kind!r} object has no attribute {name!r}")
            here = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
            if name in ELSEWHERE:
                hint = f"; {ELSEWHERE[name]}"
            elif here in dir(self):
                hint = f"; here it is called {here}"
            else:
                hint = did_you_mean(name, [known for known in dir(self) if not known.startswith("_")])
            article = "an" if kind.endswith("RDD") else "a"
            raise AttributeError(f"{caller()}: {article} {kind} has no {name}{hint}")
