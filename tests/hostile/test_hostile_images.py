"""Images, annotations and zips that are broken or hostile."""

import shutil
import zipfile

import cv2
import numpy as np
import pytest
from mutations import LONG, SHORT, Reader, try_variants
from PIL import Image
from random_datasets import draw_headers, small_dataset

from podium.config.reading import Reading
from podium.data.archives import unpack
from podium.data.catalogue import read_catalogue
from podium.data.image_paths import ImagePaths
from podium.data.images import Scaling, check_complete, decode_scaled, read_files, read_image
from podium.detection.coco import read_coco, write_coco
from podium.detection.darknet_log import read_darknet_log, summarize_log
from podium.detection.dataset import read_dataset, write_dataset
from podium.detection.openimages import read_boxes, read_class_codes, read_images
from podium.detection.voc import read_voc, write_voc
from podium.detection.yolo import read_yolo, write_yolo
from podium.errors import DataError

BOX_TABLE = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
    "0001,xclick,/m/019jd,1,0.1,0.5,0.2,0.6,0,1,0,0,-1\n0002,xclick,/m/019jd,1,0,1,0,1,0,0,0,0,0\n"
)
IMAGE_TABLE = (
    "ImageID,Subset,OriginalURL,OriginalSize,OriginalMD5,Thumbnail300KURL,Rotation\n"
    "0001,train,https://example.org/1.jpg,100,rL0Y20zC+Fzt72VPzMSk2A==,,90.0\n0002,train,,,,,\n"
)
LOG = (
    "Learning Rate: 0.001, Momentum: 0.9, Decay: 0.0005\n"
    "Region 82 Avg IOU: 0.5, Class: 0.9, Obj: 0.4, No Obj: 0.4, .5R: 1.0, .75R: 0.0,  count: 2\n"
    " 1042: 1.837529, 2.113820 avg loss, 0.001000 rate, 3.214000 seconds, 66688 images, 11.2 hours left\n"
    " mean average precision (mAP@0.5) = 0.5312, or 53.12 %\n"
)


def _image(suffix, *, deep=False, reading=None, **options):
    """An image of this format, read as the catalogue reads it."""

    def prepare(folder):
        path = folder / f"image.{suffix}"
        pixels = np.arange(40 * 30 * 3, dtype=np.uint16 if deep else np.uint8).reshape(40, 30, 3)
        if suffix == "npy":
            np.save(path, pixels)
        elif deep:
            assert cv2.imwrite(str(path), pixels)
        else:
            Image.fromarray(pixels).save(path, **options)

        def read():
            contents = read_files(path, reading or Reading())
            check_complete(path, contents[0].tobytes())
            decode_scaled(path, contents, [Scaling(8, "crop")], reading or Reading())
            image = read_image(path, reading or Reading())
            assert image.dtype == np.uint8
            read_catalogue(ImagePaths.of([path]))

        return path, read

    return prepare


def _dicom(folder):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 40, 30, 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 15, 0, "MONOCHROME1"
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = 500, 1000, 1, 0
    dataset.PixelData = np.arange(1200, dtype=np.uint16).tobytes()
    path = folder / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path, lambda: read_image(path)


def _boxes(kind, name, read, write):
    """A dataset in one of the formats, of which the file with this name is changed."""

    def prepare(folder):
        files = draw_headers(small_dataset(), folder / "images")
        place = folder / kind
        write(small_dataset(), place, files) if kind != "index" else write(small_dataset(), place)
        return place / name, lambda: read(place)

    return prepare


def _text(name, content, read):
    def prepare(folder):
        path = folder / name
        path.write_text(content)
        return path, lambda: read(path)

    return prepare


def _zip(folder):
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/one.jpg", b"red" * 1_000)
        archive.writestr("b/two.jpg", b"blue")

    def read():
        try:
            unpack(path, folder / "unpacked")
        except DataError:
            assert not (folder / "unpacked").exists()
            raise
        finally:
            shutil.rmtree(folder / "unpacked", ignore_errors=True)
            assert list(folder.iterdir()) == [path]

    return path, read


READERS = [
    Reader("jpeg", "bytes", _image("jpg")),
    Reader("png", "bytes", _image("png")),
    Reader("deep png", "bytes", _image("png", deep=True)),
    Reader("bmp", "bytes", _image("bmp")),
    Reader("gif", "bytes", _image("gif")),
    Reader("webp", "bytes", _image("webp")),
    Reader("tiff", "bytes", _image("tiff", compression="tiff_lzw")),
    Reader("deep tiff", "bytes", _image("tiff", deep=True)),
    Reader("npy", "bytes", _image("npy")),
    Reader("deep npy", "bytes", _image("npy", deep=True)),
    Reader("dicom", "bytes", _dicom),
    Reader("index.json", "json", _boxes("index", "index.json", read_dataset, write_dataset)),
    Reader("images.csv", "csv", _boxes("index", "images.csv", read_dataset, write_dataset)),
    Reader("boxes.csv", "csv", _boxes("index", "boxes.csv", read_dataset, write_dataset)),
    Reader("COCO", "json", _boxes("coco", "annotations/instances_train.json", read_coco, write_coco)),
    Reader("VOC", "bytes", _boxes("voc", "Annotations/one.xml", read_voc, write_voc)),
    Reader("VOC lists", "bytes", _boxes("voc", "ImageSets/Main/train.txt", read_voc, write_voc)),
    Reader("YOLO labels", "bytes", _boxes("yolo", "labels/train/one.txt", read_yolo, write_yolo)),
    Reader("YOLO data.yaml", "yaml", _boxes("yolo", "data.yaml", read_yolo, write_yolo)),
    Reader(
        "Open Images boxes", "csv", _text("boxes.csv", BOX_TABLE, lambda path: read_boxes(path, {"/m/019jd": "Boat"}))
    ),
    Reader("Open Images images", "csv", _text("images.csv", IMAGE_TABLE, lambda path: read_images(path, ["0001"]))),
    Reader("Open Images classes", "csv", _text("classes.csv", "/m/019jd,Boat\n/m/0ph39,Canoe\n", read_class_codes)),
    Reader("darknet log", "bytes", _text("train.log", LOG, lambda path: summarize_log("log", read_darknet_log(path)))),
    Reader("zip", "bytes", _zip),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_broken_images_and_annotations_are_errors(reader, tmp_path):
    try_variants(reader, tmp_path, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_many_broken_images_and_annotations_are_errors(reader, tmp_path):
    try_variants(reader, tmp_path, LONG)
