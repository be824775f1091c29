"""``visavis evaluate verification``: are pairs of photos told apart, and at what error rates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.faces import counted
from visavis.cli.facts import provenance
from visavis.cli.models import under_way
from visavis.cli.options import Json, Machine, Recognition, ReportFile, unpacked
from visavis.cli.report import Column, Report, rate
from visavis.errors import InputError

if TYPE_CHECKING:
    from visavis.datasets.photos import PhotoSet
    from visavis.evaluation.intervals import Estimate
    from visavis.protocols.embedding import Choice, Embedded
    from visavis.protocols.verification import Verified

__all__ = ["verification"]

_SPEC = re.compile(r"(?P<recognizer>[^+@]+)(?P<flip>\+flip)?(@(?P<detector>[^+@]+))?")
_COLUMNS = (
    Column("model"),
    Column("what", 16),
    Column("threshold", 9, right=True),
    Column("value", 9, right=True),
    Column("95 % interval", 20, right=True),
)


@unpacked
def verification(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="LFW's layout (zip, folder, name in VISAVIS_DATA), a folder of photos, or a .bin of InsightFace.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", metavar="FILE", help="Pairs as LFW's pairs.txt, or lines PHOTO PHOTO 1|0 [FOLD]."),
    ] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare every photo with every other (a folder a person).")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE.csv", help="Similarities of any system, in place of DATA."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="RECOGNIZER[+flip][@DETECTOR], as sface+flip@mtcnn; repeatable."),
    ] = None,
    embeddings: Annotated[
        list[str] | None,
        typer.Option("--embeddings", metavar="[NAME=]FILE.npz", help="Embeddings of any model; repeatable."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save-embeddings", metavar="DIR", help="Keep each model's embeddings here.")
    ] = None,
    far: Annotated[
        list[float] | None,
        typer.Option("--far", metavar="RATE", help="FAR to report, as 1e-4; repeatable. 1e-1 to 1e-6 without it."),
    ] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are crops, laid as the recognizer takes them.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out pairs that name photos that are not there.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show the hardest pairs' photos in the report.")
    ] = True,
    page: ReportFile = None,
    as_json: Json = False,
    *,
    how: Recognition,
    machine: Machine,
) -> None:
    """Measure how well pairs of photos are told apart.

    Accuracy, EER, AUC and TAR at FARs, with intervals.

    LFW's View 2 is ten folds, each decided at the threshold that is best on the others; View 1 is reported too where
    its lists are there. A .bin of InsightFace (CFP, AgeDB, CALFW, CPLFW) holds aligned crops. Several models are
    compared on the same pairs, with the significance of their differences. A photo without a face counts: its pairs
    are rejected. Models run in f32 unless --precision says otherwise.

    Embeddings of any other model are arrays "names" and "vectors" in an .npz; --scores takes columns similarity and
    mated, and perhaps subject_a, subject_b, fold. Intervals need the package scipy: pip install 'visavis[evaluate]'.

    Exit code: 0 all fine, 1 some photos could not be read, 2 error.

    \b
    Examples:
      visavis evaluate verification lfw-dev --report lfw.html
      visavis evaluate verification lfw-dev --model sface \\
        --model accurate@mtcnn
      visavis evaluate verification agedb_30.bin \\
        --recognizer dlib-resnet
      visavis evaluate verification photos/ --all-pairs \\
        --embeddings mine=mine.npz
      visavis evaluate verification --scores scores.csv
    """
    from visavis.evaluation.rates import FARS
    from visavis.protocols import verification as protocol

    fars = tuple(far or FARS)
    if not all(0 < one < 1 for one in fars):
        raise InputError("--far lies between 0 and 1")
    if (scores is None) == (data is None):
        raise InputError("give DATA, or --scores FILE.csv in its place")
    if scores is not None and (pairs or all_pairs or model or embeddings or save):
        raise InputError("--scores holds all there is to measure: leave out the options for photos and models")
    with Report("evaluate verification", as_json=as_json, columns=_COLUMNS, items="models") as report:
        if page is not None:
            from visavis.reporting.page import require_target

            require_target(page)
        photos: PhotoSet | None = None
        found: list[Verified] = []
        named = [_named(spec, how) for spec in model or ()] or ([] if embeddings or scores else [how])
        if scores is not None:
            from visavis.protocols.scores import read_scores

            source = _Source(scores.name, [scores])
            found.append(protocol.verify_scores(scores.stem, read_scores(scores).scores, fars))
        else:
            assert data is not None
            source = _opened(data, pairs, all_pairs, skip_missing, "aligned" if aligned else None)
            photos = source.photos
            if source.missing:
                report.warn(f"pairs with {counted(len(source.missing), 'photo')} that are not there are left out")
            for one in _models(report, source, named, embeddings or (), save, machine):
                if source.pairs is None:
                    assert photos is not None
                    found.append(protocol.verify_all(one.at(photos.photos), photos.people, fars, hard=page is not None))
                else:
                    found.append(protocol.verify_pairs(one, source.pairs, fars))
        report.fields(data=source.name, photos_missing=list(source.missing))
        for result in found:
            _show(report, result)
        comparison = protocol.compared(found, fars)
        if comparison is not None:
            report.fields(comparison=comparison.to_dict())
            for difference in comparison.differences:
                if difference.metric in ("accuracy", "eer"):
                    name = "EER" if difference.metric == "eer" else difference.metric
                    report.note(
                        f"{name}: {difference.b} {100 * difference.difference:+.2f} points against {difference.a} "
                        f"({100 * difference.low:+.2f} to {100 * difference.high:+.2f}, p {difference.p_holm:.2g})"
                    )
        if page is not None:
            from visavis.protocols.verification_report import verification_document
            from visavis.reporting.page import write

            facts = source.facts(named, machine, [_file(text) for text in embeddings or ()])
            write(
                verification_document(
                    found, source.name, facts, comparison=comparison, photos=photos, pictures=pictures
                ),
                page,
            )
        code = report.end()
    raise typer.Exit(code)


@dataclass(frozen=True)
class _Source:
    """What is measured."""

    name: str
    files: Sequence[Path]
    photos: PhotoSet | None = None
    pairs: Any = None
    choose: Choice = "largest"
    missing: tuple[str, ...] = ()

    def facts(self, named: Sequence[Recognition], machine: Machine, brought: Sequence[str]) -> list[tuple[str, str]]:
        """Return what is needed to measure it again: of these models and these files of embeddings."""
        from visavis.reporting.facts import hash_of_names

        settings = [("data", self.name), *([("face of a photo", self.choose)] if named else [])]
        if self.photos is not None:
            settings.append(("SHA-256 of the photos' names", hash_of_names(self.photos.photos)))
        files: list[str | Path] = [*self.files, *brought]
        return provenance(settings, files, named, machine.exact, crops=self.choose == "aligned")


def _opened(data: str, listing: Path | None, all_pairs: bool, skip_missing: bool, choose: Choice | None) -> _Source:
    from visavis.datasets.lfw import Lfw, data_path
    from visavis.datasets.photos import open_photos
    from visavis.protocols.pair_sets import open_pair_set

    if all_pairs:
        if listing is not None:
            raise InputError("--pairs and --all-pairs are two ways to compare: give one")
        photos = open_photos(data)
        kind: Choice = choose or ("central" if isinstance(photos, Lfw) else "largest")
        return _Source(data_path(data).name, [data_path(data)], photos, None, kind)
    opened = open_pair_set(data, listing, skip_missing=skip_missing, choose=choose)
    return _Source(opened.name, opened.files, opened.photos, opened, opened.choose, opened.missing)


def _models(
    report: Report,
    source: _Source,
    named: Sequence[Recognition],
    brought: Sequence[str],
    save: Path | None,
    machine: Machine,
) -> Iterator[Embedded]:
    """Yield the embeddings of each model: those named, then those brought along."""
    import numpy as np

    from visavis.protocols.embedding import embed_photos

    assert source.photos is not None
    analyzers = [how.analyzer(machine.exact) for how in named]
    given = [_brought(text) for text in brought]
    aligned = source.choose == "aligned"  # no detector is run
    names = [one.model if aligned else one.calibrated_as for one in analyzers] + [one.model for one in given]
    if len(set(names)) < len(names):
        raise InputError(f"models need different names, not {', '.join(names)}: write --embeddings NAME=FILE.npz")
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    rows = None
    if source.pairs is not None:
        listed = [source.pairs.pairs, *(source.pairs.view1 or ())]
        rows = np.unique(np.concatenate([part.photos.ravel() for part in listed])).tolist()
    for analyzer in analyzers:
        failed: list[str] = []
        with under_way() as say:
            embedded = embed_photos(
                source.photos,
                analyzer,
                choose=source.choose,
                rows=rows,
                say=say,
                failed=lambda name, _, failed=failed: failed.append(name),  # type: ignore[misc]
            )
        if failed:
            report.skipped += len(failed)
            report.warn(f"{counted(len(failed), 'photo')} can't be read, as {failed[0]}: counted as without a face")
        report.done += len(embedded)
        if save is not None:
            embedded.save(save / f"{embedded.model}.npz")
        yield embedded
    wanted = source.photos.photos if rows is None else [source.photos.photos[row] for row in rows]
    for one in given:
        lacking = len(set(wanted) - set(one.names))
        if lacking:
            report.warn(f"{one.model} lacks {counted(lacking, 'photo')} of {len(wanted):,}: counted as without a face")
        yield one


def _named(spec: str, how: Recognition) -> Recognition:
    """Return the options with what ``RECOGNIZER[+flip][@DETECTOR]`` says in their place."""
    parts = _SPEC.fullmatch(spec)
    if parts is None:
        raise InputError(f"--model is RECOGNIZER[+flip][@DETECTOR], as sface+flip@mtcnn, not {spec!r}")
    flip = how.flip or parts["flip"] is not None
    return replace(how, recognizer=parts["recognizer"], flip=flip, detector=parts["detector"] or how.detector)


def _brought(text: str) -> Embedded:
    from visavis.protocols.embedding import Embedded

    name = text.partition("=")[0] if "=" in text else ""
    found = Embedded.load(_file(text))
    return replace(found, model=name) if name else found


def _file(text: str) -> str:
    """Return the file of ``[NAME=]FILE.npz``."""
    return text.partition("=")[2] or text


def _show(report: Report, one: Verified) -> None:
    result = one.result
    report.item(one.to_dict())
    if result.accuracy is not None:
        error = f"SE {100 * result.accuracy.standard_error:.2f}"
        _row(report, one.model, "accuracy", result.accuracy.estimate, error)
    if one.view1 is not None:
        _row(report, one.model, "accuracy, View 1", one.view1.accuracy, f"{one.view1.threshold:.4f}")
    _row(report, one.model, "EER", result.eer, f"{result.eer_threshold:.4f}")
    _row(report, one.model, "AUC", result.auc)
    few = []
    for at in result.rates:
        if at.tar is None or at.threshold is None:
            few.append(at)
            report.row(one.model, f"TAR at FAR {rate(at.far)}", "", "", "not measurable")
        else:
            _row(report, one.model, f"TAR at FAR {rate(at.far)}", at.tar, f"{at.threshold:.4f}")
    if few:
        at = min(few, key=lambda at: at.pairs_needed)
        listed = ", ".join(rate(one.far) for one in few)
        report.warn(
            f"{result.nonmated:,} non-mated pairs can't show FAR {listed}: {rate(at.far)} takes {at.pairs_needed:,}"
        )
    for text in (*result.warnings, *(f"View 1: {said}" for said in (one.view1.warnings if one.view1 else ()))):
        report.warn(f"{one.model}: {text}")
    if one.without:
        report.warn(f"{one.model}: {counted(one.without, 'photo')} without an embedding; their pairs count as rejected")
    report.note(f"{one.model}: {result.mated:,} mated and {result.nonmated:,} non-mated pairs; {result.interval}")


def _row(report: Report, model: str, what: str, share: Estimate, at: str = "") -> None:
    report.row(model, what, at, f"{100 * share.value:.3f}%", f"{100 * share.low:.2f}% .. {100 * share.high:.2f}%")
