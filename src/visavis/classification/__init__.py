"""Classifiers on embeddings: kNN and support vector machines that name people, and reject whom they don't know."""

from visavis.classification.classifier import Classifier, Validation, same_pictures
from visavis.classification.evaluation import Evaluation, evaluate
from visavis.classification.methods import METHODS, require
from visavis.classification.predictions import Predictions
from visavis.classification.reject import RULES, Reject, closest_others

__all__ = [
    "METHODS",
    "RULES",
    "Classifier",
    "Evaluation",
    "Predictions",
    "Reject",
    "Validation",
    "closest_others",
    "evaluate",
    "require",
    "same_pictures",
]
