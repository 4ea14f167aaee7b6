"""Small recordings in the formats of acquisition systems, written as their descriptions say.

`counts` are int16 of shape (frames, channels); the writers return what is given to spikelab.
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FS = 20_000.0
OLD_RECORD = 1024
NLX_RECORD = 512
NLX_HEADER = 16 << 10
INTAN_BLOCK = 128


def some_counts(n_frames: int = 24_576, n_channels: int = 4, seed: int = 0) -> np.ndarray:
    return np.rint(20 * np.random.default_rng(seed).standard_normal((n_frames, n_channels))).astype(np.int16)


def jumped(n_frames: int, first: int = 0, at: int | None = None, by: int = 0) -> np.ndarray:
    """Numbers of frames that begin at `first`, and from frame `at` on are `by` higher."""
    numbers = first + np.arange(n_frames)
    if at is not None:
        numbers[at:] += by
    return numbers


def write_spikeglx(
    folder: Path, counts: np.ndarray, stated: int | None = None, first: int = 0, lf: bool = False
) -> Path:
    """A Neuropixels 1.0 run of which the first channels, SYNC and perhaps the LFP band were saved."""
    n, n_frames, fs = counts.shape[1], len(counts), 30_000.0
    target = folder / f"{folder.name}_imec0"
    target.mkdir(parents=True)
    for band, rate in (("ap", fs), ("lf", 2500.0)) if lf else (("ap", fs),):
        saved = counts if band == "ap" else counts[::12]
        stem = target / f"{folder.name}_t0.imec0.{band}"
        np.column_stack([saved, np.full(len(saved), 64)]).astype("<i2").tofile(stem.with_name(stem.name + ".bin"))
        meta: dict[str, Any] = {
            "acqApLfSy": "384,384,1", "appVersion": "20230905", "fileCreateTime": "2024-01-01T10:00:00",
            "fileName": f"D:/{stem.name}.bin", "fileSHA1": "0", "firstSample": first, "gateMode": "Immediate",
            "fileSizeBytes": (len(saved) if stated is None else stated) * (n + 1) * 2,
            "fileTimeSecs": (n_frames if stated is None else stated) / rate,
            "imAiRangeMax": 0.6, "imAiRangeMin": -0.6, "imMaxInt": 512, "imDatPrb_pn": "NP1000",
            "imDatPrb_type": 0, "imDatPrb_port": 1, "imDatPrb_slot": 2, "imDatPrb_sn": 1, "imSampRate": rate,
            "nSavedChans": n + 1, "snsApLfSy": f"{n},0,1" if band == "ap" else f"0,{n},1",
            "snsSaveChanSubset": f"0:{n - 1},768" if band == "ap" else f"384:{384 + n - 1},768",
            "typeThis": "imec", "typeImEnabled": 1, "typeNiEnabled": 0, "trigMode": "Immediate",
        }  # fmt: skip
        name, start = ("AP", 0) if band == "ap" else ("LF", 384)
        text = "".join(f"{key}={value}\n" for key, value in meta.items())
        text += "~imroTbl=(0,0,384)" + "".join(f"({c} 0 0 500 250 1)" for c in range(384)) + "\n"
        text += "~snsChanMap=(384,384,1)" + "".join(f"({name}{c};{start + c}:{c})" for c in range(n))
        text += f"(SY0;768:{n})\n~snsShankMap=(1,2,480)" + "".join(f"(0:{c % 2}:{c // 2}:1)" for c in range(n)) + "\n"
        stem.with_name(stem.name + ".meta").write_text(text)
    return target


def write_open_ephys(
    folder: Path,
    counts: np.ndarray,
    numbers: np.ndarray | None = None,
    experiment: str = "experiment1",
    n_adc: int = 0,
    fs: float = FS,
) -> Path:
    """The binary format of the GUI 0.6; the last `n_adc` channels are analog inputs."""
    recording = folder / "Record Node 101" / experiment / "recording1"
    traces = recording / "continuous" / "Acquisition_Board-100.Rhythm Data"
    traces.mkdir(parents=True)
    counts.astype("<i2").tofile(traces / "continuous.dat")
    numbers = np.arange(len(counts)) if numbers is None else numbers
    np.save(traces / "sample_numbers.npy", numbers)
    np.save(traces / "timestamps.npy", numbers / fs)
    n = counts.shape[1] - n_adc
    names = [f"CH{i + 1}" for i in range(n)] + [f"ADC{i + 1}" for i in range(n_adc)]
    channels = [
        {"channel_name": c, "bit_volts": 0.195 if "CH" in c else 1e-7, "units": "uV" if "CH" in c else "V"}
        for c in names
    ]
    stream = {
        "folder_name": "Acquisition_Board-100.Rhythm Data/", "sample_rate": int(fs), "channels": channels,
        "source_processor_name": "Acquisition Board", "source_processor_id": 100, "stream_name": "Rhythm Data",
        "recorded_processor": "Record Node", "recorded_processor_id": 101, "num_channels": len(channels),
    }  # fmt: skip
    described = {"GUI version": "0.6.4", "continuous": [stream], "events": [], "spikes": []}
    (recording / "structure.oebin").write_text(json.dumps(described))
    (recording / "sync_messages.txt").write_text(
        "Software Time (milliseconds since midnight Jan 1st 1970 UTC): 1704103200000\n"
    )
    return folder


def write_old_open_ephys(folder: Path, counts: np.ndarray, numbers: np.ndarray | None = None, fs: float = FS) -> Path:
    """The format of GUI 0.4: a file per channel, of records of 1024 samples with the number of the first."""
    folder.mkdir(parents=True)
    numbers = np.arange(len(counts)) if numbers is None else numbers
    record = np.dtype(
        [("timestamp", "<i8"), ("n", "<u2"), ("recording", ">u2"), ("samples", ">i2", OLD_RECORD), ("end", "u1", 10)]
    )
    for channel in range(counts.shape[1]):
        head = (
            "header.format = 'Open Ephys Data Format';\nheader.version = 0.4;\nheader.header_bytes = 1024;\n"
            "header.date_created = '1-Jan-2024 100000';\n"
            f"header.channel = 'CH{channel + 1}';\nheader.channelType = 'Continuous';\nheader.sampleRate = {fs:g};\n"
            "header.blockLength = 1024;\nheader.bufferSize = 1024;\nheader.bitVolts = 0.195;\n"
        )
        records = np.zeros(len(counts) // OLD_RECORD, dtype=record)
        records["timestamp"], records["n"] = numbers[::OLD_RECORD][: len(records)], OLD_RECORD
        records["samples"] = counts[: len(records) * OLD_RECORD, channel].reshape(len(records), OLD_RECORD)
        records["end"] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 255]
        (folder / f"100_CH{channel + 1}.continuous").write_bytes(head.encode().ljust(1024) + records.tobytes())
    return folder


def write_intan(path: Path, counts: np.ndarray, numbers: np.ndarray | None = None, n_adc: int = 0) -> Path:
    """An .rhd file with its traces or, under the name info.rhd, a folder with a file per kind of signal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(len(counts)) if numbers is None else numbers

    def text(value: str) -> bytes:
        return struct.pack("<I", 2 * len(value)) + value.encode("utf-16-le")

    def channel(name: str, kind: int, order: int) -> bytes:
        return text(name) + text(name) + struct.pack("<10h2f", order, order, kind, 1, order, 0, 0, 0, 0, 0, 1.0, 0.0)

    n = counts.shape[1]
    head = struct.pack("<Ihh", 0xC6912702, 2, 0)
    head += struct.pack("<fh6fh2f", FS, 1, 1.0, 0.1, 7500.0, 1.0, 0.1, 7500.0, 0, 1000.0, 1000.0)
    head += text("") * 3 + struct.pack("<hh", 0, 0) + text("n/a") + struct.pack("<h", 2)
    head += text("Port A") + text("A") + struct.pack("<3h", 1, n, n)
    head += b"".join(channel(f"A-{i:03d}", 0, i) for i in range(n))
    head += text("Board ADC Inputs") + text("ANALOG-IN") + struct.pack("<3h", 1, n_adc, 0)
    head += b"".join(channel(f"ANALOG-IN-{i}", 3, i) for i in range(n_adc))
    if path.name == "info.rhd":
        path.write_bytes(head)
        numbers.astype("<i4").tofile(path.parent / "time.dat")
        counts.astype("<i2").tofile(path.parent / "amplifier.dat")
        if n_adc:
            np.zeros((len(counts), n_adc), dtype="<u2").tofile(path.parent / "analogin.dat")
        return path
    fields: list[Any] = [("timestamp", "<i4", INTAN_BLOCK)]
    fields += [(f"c{i}", "<u2", INTAN_BLOCK) for i in range(n)] + [(f"a{i}", "<u2", INTAN_BLOCK) for i in range(n_adc)]
    blocks = np.zeros(len(counts) // INTAN_BLOCK, dtype=fields)
    blocks["timestamp"] = numbers[: blocks.size * INTAN_BLOCK].reshape(-1, INTAN_BLOCK)
    for i in range(n):
        blocks[f"c{i}"] = (counts[: blocks.size * INTAN_BLOCK, i].astype(int) + 32768).reshape(-1, INTAN_BLOCK)
    path.write_bytes(head + blocks.tobytes())
    return path


def write_neuralynx(folder: Path, counts: np.ndarray, numbers: np.ndarray | None = None, fs: float = FS) -> Path:
    """A folder of .ncs files: records of 512 samples with the time of the first in microseconds."""
    folder.mkdir(parents=True)
    numbers = np.arange(len(counts)) if numbers is None else numbers
    record = np.dtype(
        [("timestamp", "<u8"), ("channel", "<u4"), ("rate", "<u4"), ("n", "<u4"), ("samples", "<i2", NLX_RECORD)]
    )
    for channel in range(counts.shape[1]):
        head = (
            "######## Neuralynx Data File Header\r\n-FileType NCS\r\n-FileVersion 3.4\r\n"
            f"-RecordSize 1044\r\n-TimeCreated 2024/01/01 10:00:00\r\n-TimeClosed 2024/01/01 10:10:00\r\n"
            f'-ApplicationName Cheetah "6.3.2"\r\n-AcqEntName CSC{channel + 1}\r\n-ADChannel {channel}\r\n'
            f"-HardwareSubSystemType DigitalLynxSX\r\n-SamplingFrequency {fs:g}\r\n-ADMaxValue 32767\r\n"
            "-ADBitVolts 0.000000195\r\n-NumADChannels 1\r\n-InputRange 6000\r\n-InputInverted False\r\n"
        )
        records = np.zeros(len(counts) // NLX_RECORD, dtype=record)
        records["timestamp"] = 5_000_000 + np.rint(numbers[::NLX_RECORD][: len(records)] * 1e6 / fs)
        records["channel"], records["rate"], records["n"] = channel, int(fs), NLX_RECORD
        records["samples"] = counts[: len(records) * NLX_RECORD, channel].reshape(-1, NLX_RECORD)
        head_bytes = head.encode("latin-1").ljust(NLX_HEADER, b"\0")
        (folder / f"CSC{channel + 1}.ncs").write_bytes(head_bytes + records.tobytes())
    return folder


def write_blackrock(path: Path, counts: np.ndarray, numbers: np.ndarray | None = None, ptp: bool = False) -> Path:
    """An .ns6 file at 30 kHz of specification 2.3, a block per stretch, or 3.0 with a time per frame (PTP)."""
    n, n_frames = counts.shape[1], len(counts)
    numbers = np.arange(n_frames) if numbers is None else numbers
    size = 314 + 66 * n
    head = b"BRSMPGRP" if ptp else b"NEURALCD"
    head += (
        struct.pack("<BBI", 3 if ptp else 2, 0 if ptp else 3, size) + b"raw".ljust(16, b"\0") + b"".ljust(256, b"\0")
    )
    head += struct.pack("<II8HI", 1, 10**9 if ptp else 30_000, 2024, 1, 1, 1, 10, 0, 0, 0, n)
    for i in range(n):
        scale = (-8191, 8191, -2000, 2000)
        head += struct.pack("<2sH16sBB4h", b"CC", i + 1, f"elec{i + 1}".encode(), 0, i, *scale)
        head += struct.pack("<16sIIHIIH", b"uV", 0, 0, 0, 0, 0, 0)
    if ptp:
        packets = np.zeros(n_frames, dtype=[("r", "u1"), ("t", "<u8"), ("n", "<u4"), ("samples", "<i2", n)])
        packets["r"], packets["n"], packets["samples"] = 1, 1, counts
        packets["t"] = 1_704_103_200 * 10**9 + np.rint(numbers * (1e9 / 30_000)).astype(np.int64)
        path.write_bytes(head + packets.tobytes())
        return path
    blocks = b""
    starts = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), n_frames]
    for start, end in pairwise(starts):
        blocks += struct.pack("<BII", 1, int(numbers[start]), end - start) + counts[start:end].astype("<i2").tobytes()
    path.write_bytes(head + blocks)
    return path


def write_mcs(path: Path, counts: np.ndarray, numbers: np.ndarray | None = None, stated: int | None = None) -> Path:
    """An .h5 file of Multi Channel Systems: the times of the stretches are in a table."""
    n_frames, tick = len(counts), round(1e6 / FS)
    numbers = np.arange(n_frames) if numbers is None else numbers
    starts = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), n_frames]
    table = [[int(numbers[a]) * tick, a, b - 1] for a, b in pairwise(starts)]
    table[-1][2] = (n_frames if stated is None else stated) - 1
    with h5py.File(path, "w") as file:
        file.create_group("Data").attrs["DateInTicks"] = 638_397_000_000_000_000  # 2024-01-01 10:00
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream["ChannelData"] = counts.T.astype("<i4")
        stream["ChannelDataTimeStamps"] = np.array(table, dtype="<i8")
        info = np.zeros(counts.shape[1], dtype=[
            ("ChannelID", "<i4"), ("Label", "S8"), ("Unit", "S4"), ("Exponent", "<i4"), ("ADZero", "<i4"),
            ("Tick", "<i8"), ("ConversionFactor", "<i8"),
        ])  # fmt: skip
        stream.attrs["Label"], stream.attrs["DataSubType"] = "Electrode Raw Data", "Electrode"
        other = file.create_group("Data/Recording_0/AnalogStream/Stream_1")
        other.attrs["Label"], other.attrs["DataSubType"] = "Analog Data1", "Auxiliary"
        info["ChannelID"], info["Label"] = np.arange(len(info)), [f"{i}".encode() for i in range(len(info))]
        info["Unit"], info["Exponent"], info["Tick"], info["ConversionFactor"] = b"V", -9, tick, 195
        stream["InfoChannel"] = info
        other["ChannelData"], other["ChannelDataTimeStamps"] = np.zeros((1, n_frames), "<i4"), np.array(table)
        other["InfoChannel"] = info[:1]
    return path


def write_neuroscope(path: Path, counts: np.ndarray) -> Path:
    """A .dat file with an .xml beside it."""
    counts.astype("<i2").tofile(path)
    groups = "".join(f"<channel skip='0'>{i}</channel>" for i in range(counts.shape[1]))
    path.with_suffix(".xml").write_text(
        "<parameters><acquisitionSystem><nBits>16</nBits>"
        f"<nChannels>{counts.shape[1]}</nChannels><samplingRate>{FS:g}</samplingRate><voltageRange>20</voltageRange>"
        "<amplification>1000</amplification><offset>0</offset></acquisitionSystem><anatomicalDescription>"
        f"<channelGroups><group>{groups}</group></channelGroups></anatomicalDescription></parameters>"
    )
    return path


def write_edf(path: Path, counts: np.ndarray, stated: int | None = None) -> Path:
    """An EDF file with records of a second."""
    per_record, n = int(FS), counts.shape[1]
    records = counts[: len(counts) // per_record * per_record].reshape(-1, per_record, n)

    def field(value: Any, width: int, times: int = 1) -> bytes:
        return str(value).ljust(width).encode() * times

    head = field(0, 8) + field("", 80) + field("", 80) + field("01.01.24", 8) + field("10.00.00", 8)
    head += field(256 * (n + 1), 8) + field("", 44) + field(len(records) if stated is None else stated, 8)
    head += field(1, 8) + field(n, 4) + b"".join(field(f"ch{i}", 16) for i in range(n)) + field("", 80, n)
    head += field("uV", 8, n) + field(-6389.76, 8, n) + field(6389.565, 8, n) + field(-32768, 8, n) + field(32767, 8, n)
    head += field("", 80, n) + field(per_record, 8, n) + field("", 32, n)
    path.write_bytes(head + np.ascontiguousarray(records.transpose(0, 2, 1)).astype("<i2").tobytes())
    return path


def write_biocam(path: Path, counts: np.ndarray, stated: int | None = None) -> Path:
    """A 3Brain .brw file of version 3 with a value per channel and frame."""
    n_frames, n = counts.shape
    with h5py.File(path, "w") as file:
        info = file.create_group("3BRecInfo/3BRecVars")
        for name, value in {
            "BitDepth": 12, "MaxVolt": 4125.0, "MinVolt": -4125.0, "SamplingRate": FS, "SignalInversion": 1.0,
            "NRecFrames": n_frames if stated is None else stated,
        }.items():  # fmt: skip
            info[name] = np.array([value])
        places = np.zeros(n, dtype=[("Row", "<i2"), ("Col", "<i2")])
        places["Row"], places["Col"] = 1 + np.arange(n) // 2, 1 + np.arange(n) % 2
        file["3BRecInfo/3BMeaStreams/Raw/Chs"] = places
        file["3BData/Raw"] = (counts + 2048).astype("<u2")
        file["3BData"].attrs["Version"] = 100
    return path


def write_biocam_4(path: Path, counts: np.ndarray, numbers: np.ndarray | None = None) -> Path:
    """A 3Brain .brw file of version 4: ranges of frames in a table of contents."""
    n_frames, n = counts.shape
    numbers = np.arange(n_frames) if numbers is None else numbers
    starts = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), n_frames]
    settings = {
        "ValueConverter": {
            "MaxAnalogValue": 4125.0, "MinAnalogValue": -4125.0, "MaxDigitalValue": 4095, "MinDigitalValue": 0,
            "ScaleFactor": 1.0,
        },
        "TimeConverter": {"FrameRate": FS},
        "MeaPlate": {"Model": "Arena"},
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        file["ExperimentSettings"] = np.array([json.dumps(settings).encode()])
        file["TOC"] = np.array([[numbers[a], numbers[b - 1] + 1] for a, b in pairwise(starts)], dtype="<i8")
        file["Well_A1/StoredChIdxs"] = np.arange(n, dtype="<i4")
        file["Well_A1/Raw"] = (counts + 2048).astype("<u2").ravel()
    return path


def write_nwb(path: Path, counts: np.ndarray, times_s: np.ndarray | None = None) -> Path:
    """An .nwb file with one ElectricalSeries on a column of electrodes."""
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.ecephys import ElectricalSeries

    file = NWBFile(session_description="s", identifier="i", session_start_time=datetime(2024, 1, 1, 10, tzinfo=UTC))
    group = file.create_electrode_group("probe", description="p", location="l", device=file.create_device("d"))
    for i in range(counts.shape[1]):
        file.add_electrode(group=group, location="l", rel_x=0.0, rel_y=40.0 * i)
    region = file.create_electrode_table_region(region=list(range(counts.shape[1])), description="all")
    timing = {"rate": FS, "starting_time": 2.0} if times_s is None else {"timestamps": times_s}
    file.add_acquisition(ElectricalSeries(name="series", data=counts, electrodes=region, conversion=0.195e-6, **timing))
    with NWBHDF5IO(str(path), "w") as target:
        target.write(file)
    return path
