"""``visavis evaluate verification``: are pairs of photos told apart, and at what error rates."""

from __future__ import annotations

from typing import Annotated

import typer

from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, Recognition, unpacked
from visavis.cli.report import Report

__all__ = ["verification"]


@unpacked
def verification(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Zip or folder in LFW's layout, or its name in VISAVIS_DATA.")
    ] = "lfw-dev",
    as_json: Json = False,
    *,
    how: Recognition,
    machine: Machine,
) -> None:
    """Measure a recognizer on the pairs of a data set.

    \b
    Examples:
      visavis evaluate verification lfw-dev
    """
    from visavis.datasets.lfw import Lfw
    from visavis.evaluation.verification import accuracy, pair_similarities
    from visavis.protocols.embedding import embed_photos

    with Report("evaluate verification", as_json=as_json) as report:
        photos = Lfw.open(data)
        pairs = photos.view2()
        analyzer = how.analyzer(machine)
        with under_way() as say:
            embedded = embed_photos(photos, analyzer, choose="central", say=say)
        similarities = pair_similarities(embedded.vectors, pairs.photos, embedded.found)
        share = accuracy(similarities, pairs.mated, pairs.folds)
        report.fields(model=embedded.model, accuracy=share.to_dict())
        report.facts([("model", embedded.model), ("accuracy", f"{share.value:.2%}")])
