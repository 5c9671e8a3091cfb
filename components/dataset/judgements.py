"""Judgements: which of two captions of a picture somebody (or a rule) found better.

Human labels and silver preferences have the same shape and are told apart by `origin`. The texts stand
inline: a captioner that changes later never changes what was judged.
"""

from __future__ import annotations

import pyarrow as pa

HUMAN, SILVER = "human", "silver"

JUDGEMENT = pa.struct(
    [
        ("better", pa.string()),
        ("worse", pa.string()),
        ("tie", pa.bool_()),  # neither was better; which stands as `better` then means nothing
        ("better_source", pa.string()),
        ("worse_source", pa.string()),
        ("kind", pa.string()),  # the criterion judged, or the kind of damage planted in `worse`
        ("by", pa.string()),  # the labeller, or the rule
        ("origin", pa.string()),  # human | silver
    ]
)
JUDGEMENTS = pa.list_(JUDGEMENT)  # of one pair
