"""Classifiers on embeddings: kNN and support vector machines that name people, and reject whom they don't know."""

from visavis.classification.classifier import Classifier, Validation
from visavis.classification.evaluation import Evaluation, evaluate
from visavis.classification.methods import METHODS
from visavis.classification.predictions import Predictions
from visavis.classification.reject import RULES, Reject

__all__ = ["METHODS", "RULES", "Classifier", "Evaluation", "Predictions", "Reject", "Validation", "evaluate"]
