"""The field's words: what each means, and what reviewers are told instead.

The glossary page shows them all; ``{% term %}`` opens one where it stands. No other module explains a word.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One meaning. ``to_reviewers`` is empty where they never meet the thing."""

    to_engineers: str
    to_reviewers: str
    meaning: str


WORDS = [
    Word("exchange", "question and answer", "One request from a product and what the model answered."),
    Word(
        "trace",
        "",
        "The tree of steps around an exchange: search, tool calls, the answer. "
        "Not another word for exchange.",
    ),
    Word("span", "", "One step of a trace: when it began, how long it took, and what came of it."),
    Word(
        "feedback",
        "",
        "What an end user said about an answer: thumbs, a score from 0 to 1, a comment, or a correction. "
        "It comes from the app, and it is not a judgement.",
    ),
    Word(
        "judgement",
        "your answer",
        "What one person said about one exchange. Never edited, only followed by a newer one.",
    ),
    Word(
        "reference reviewer",
        "reference list",
        "Not a person: a published list of right answers that judges in a demonstration. "
        "What it said is marked.",
    ),
    Word("verdict", "settled", "What the judgements of an exchange add up to, and the rule that decided."),
    Word("adjudication", "second opinion", "A lead decides where judgements differ."),
    Word("gold item", "check question", "One whose answer is known, to see how we are doing."),
    Word("lease", "reserved for you until 14:32", "Nobody else gets this item until then."),
    Word(
        "token",
        "piece of a word",
        "Models write in pieces, about three quarters of a word each; one piece is a token.",
    ),
    Word(
        "probability",
        "how sure",
        "The chance that the model gave a piece when it wrote it. Sure is not the same as right.",
    ),
    Word(
        "logprob",
        "",
        "The natural logarithm of a probability: 0 is certain, −0.7 is one in two, −4.6 is one in a hundred.",
    ),
    Word(
        "entropy",
        "",
        "How evenly the model was torn between pieces, in bits: 0 is certain, 1 is two equal choices.",
    ),
    Word(
        "margin", "", "How far the best piece was ahead of the second best, as a difference of probabilities."
    ),
    Word("route", "", "The model name that apps call. It decides which version answers."),
    Word(
        "version",
        "",
        "One set of weights: a base model, or an adapter over one. Told apart by the hash of its bytes.",
    ),
    Word(
        "adapter",
        "",
        "A small file that changes how a model answers. Removable in a second; "
        "the model itself stays as it was.",
    ),
    Word(
        "queue",
        "queue",
        "Exchanges that wait for people's judgement, with one question and one set of guidelines.",
    ),
    Word(
        "dataset",
        "",
        "Judged exchanges, made into rows to learn from and rows kept for the exam. A version never changes.",
    ),
    Word("eval set", "", "Exam questions with known answers, never used for training."),
    Word("gate", "", "The rule that says ship, block or not enough data."),
    Word("shadow", "", "Answers along without anyone seeing it, to be compared."),
    Word("canary", "", "Answers a small share of real users first."),
    Word("rollout", "", "A change of what answers a route. Back undoes it in under a second."),
    Word("upstream", "", "An engine that serves models: one address that speaks the OpenAI protocol."),
]
MEANINGS = {word.to_engineers: word.meaning for word in WORDS}
