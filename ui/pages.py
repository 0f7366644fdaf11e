"""The pages: where each stands, what it is called, and the sentences about it."""

from dataclasses import dataclass

from ui.settings import keeps_record


@dataclass(frozen=True)
class Page:
    """One page; its address ends in the name of its file."""

    path: str
    """from Home.py, as st.Page, st.page_link and st.switch_page want it"""
    title: str
    """in the side bar and on links"""
    icon: str
    lede: str
    """the one sentence under the heading"""
    teaser: str = ""
    """what Home says of it"""
    heading: str = ""
    """over the page, where that is not its title"""


HOME = Page(
    "pages/home.py",
    "Home",
    ":material/home:",
    "What several networks see in a dermoscopic image.",
    heading="Dermlens",
)
PREDICT = Page(
    "pages/predict.py",
    "Predict",
    ":material/biotech:",
    "What each model sees in a dermoscopic image, and where it looked.",
    "What the models see in an image",
)
COMPARE = Page(
    "pages/compare.py",
    "Compare models",
    ":material/compare_arrows:",
    "Two or more models side by side, on the current case or on a data split.",
    "On one case, or on a data split",
)
METRICS = Page(
    "pages/metrics.py",
    "Metrics",
    ":material/grid_on:",
    "What a model gets right and wrong, down to the single case.",
    "How often they are right, and on what",
)
COHORT = Page(
    "pages/cohort.py",
    "Cohort",
    ":material/stacks:",
    "What a model made of a whole folder of images, and whether they are like those it was measured on.",
    "What was answered for a folder of images",
)
TRAINING_CURVES = Page(
    "pages/training_curves.py",
    "Training curves",
    ":material/show_chart:",
    "How the networks were trained, epoch by epoch.",
    "How they were trained",
)
ABOUT_DATA = Page(
    "pages/about_data.py",
    "About the data",
    ":material/dataset:",
    "What the networks learned from, and how it was split.",
    "What they learned from, and the split",
)
RECORD = Page(
    "pages/record.py",
    "Record",
    ":material/folder_open:",
    "The cases that were kept: what was asked, answered and decided, and what became of it.",
    "Cases that were kept, and what became of them",
)
PAGES = (HOME, PREDICT, COMPARE, METRICS, COHORT, TRAINING_CURVES, ABOUT_DATA)
"""In the order of the side bar; the first one opens without a name in the address."""


def shown() -> tuple[Page, ...]:
    """Return the pages of this dashboard: PAGES, and those that its owner switched on."""
    return (*PAGES, RECORD) if keeps_record() else PAGES
