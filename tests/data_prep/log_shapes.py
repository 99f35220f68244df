"""Small logs in the shapes that people have: 2,400 events of 150 users on 120 items, written by `write_shapes`."""

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST, LAST = 1570000124, 1570777081
WIDE = 11400714819323198485  # above 2^63, and odd
Events = list[tuple[int, int, int]]  # user, item, time
NULL = "\\N"


def make_events() -> Events:
    """In the order of time; every user and item occurs, no event twice."""
    rng = np.random.default_rng(3)
    users, items = rng.permutation(np.arange(2400) % 150), rng.permutation(np.arange(2400) % 120)
    times = np.sort(rng.choice(np.arange(FIRST + 1, LAST), 2398, replace=False))
    return list(zip(users.tolist(), items.tolist(), [FIRST, *times.tolist(), LAST], strict=True))


EVENTS = make_events()


def iso(time: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return datetime.fromtimestamp(time, UTC).strftime(form)


def lines(row: Callable[[int, int, int, int], str], header: str = "") -> str:
    return (header + "\n" if header else "") + "".join(row(n, *event) + "\n" for n, event in enumerate(EVENTS))


def parquet(path: Path, **columns: pa.Array) -> None:
    given = {"user_id": pa.array([user for user, _, _ in EVENTS]), "item_id": pa.array([item for _, item, _ in EVENTS])}
    pq.write_table(pa.table({**given, "timestamp": pa.array([time for _, _, time in EVENTS]), **columns}), path)


def asin(item: int) -> str:
    return f"{1703 * item:09d}X" if item % 3 == 0 else f"{1703 * item:010d}" if item % 3 == 1 else f"B{item:09d}"


def write_shapes(out: Path) -> None:
    """Writes every shape under its name."""
    titles = "user_id,item_id,title,timestamp"
    names, full = "user_id,item_id,timestamp", "user_id,item_id,category_id,timestamp"
    behaviors = "user_id,item_id,category_id,behavior_type,timestamp"
    texts = {
        "cat_text_one_empty.csv": lines(lambda n, u, i, t: f"{u},{i},{'' if n == 1200 else f'cat{i % 7}'},{t}", full),
        "cat_int_empty.csv": lines(lambda n, u, i, t: f"{u},{i},{'' if i % 4 == 0 else i % 7},{t}", full),
        "q_onebreak.csv": lines(
            lambda n, u, i, t: f'{u},{i},"Film {i}, The{chr(10) if n == 5 else ""}",{t}', "user_id,item_id,title,timestamp"
        ),
        "q_lone.csv": lines(lambda n, u, i, t: f'{u},{i},"Film {i}, The{"" if n == 5 else chr(34)},{t}', titles),
        "blankfirst_quoted.csv": "\n" + lines(lambda n, u, i, t: f'"{u}","{i}","{t}"', '"user_id","item_id","timestamp"'),
        "amazon_zero.csv": lines(lambda n, u, i, t: f"{asin(i)},A{u:013d},5.0,{t}"),
        "kinds.csv": lines(lambda n, u, i, t: f"{u},{i},{i % 7},{('view', 'cart', 'purchase')[n % 3]},{t}", behaviors),
        "plain.csv": lines(lambda n, u, i, t: f"{u},{i},{i % 7},pv,{t}"),
        "lone_samerow.tsv": lines(lambda n, u, i, t: f"u{u}\t{t}\ti{i}\t" + ('"Artist0\tSong 7" mix' if n % 6 == 0 else "Artist\tSong")),
        "maxint_onebad.csv": lines(lambda n, u, i, t: f"{2**63 - 151 + u},{i},{i % 7},pv,{'oops' if n == 5 else t}"),
        "rees46.csv": lines(
            lambda n, u, i, t: (
                f"{iso(t)} UTC,{('cart', 'view', 'purchase')[n % 3]},{44600062 + i},{2053013555631882655 + i % 9},,b{i % 4},"
                f"{i}.50,{541312140 + u},72d76fde-8bb3-4e00-8c23-{u:012d}"
            ),
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
        ),
        "yoochoose.dat": lines(lambda n, u, i, t: f"{u + 1},{iso(t, '%Y-%m-%dT%H:%M:%S')}.277Z,{214500000 + i},{('S', '0', '3')[n % 3]}"),
        "globo_us_int.csv": lines(lambda n, u, i, t: f"{u},{i},{t}000005", "user,item_id,event_timestamp"),
        "tmall.csv": lines(
            lambda n, u, i, t: f"{u},{i},{i % 7},{i % 2},2660.0,{iso(t, '%m%d')},{n % 4}",
            "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type",
        ),
        "tenrec.csv": lines(
            lambda n, u, i, t: f"{u},{i},1,0,0,0,{i % 4},1,1,2",
            "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age",
        ),
        "ml1m.dat": lines(lambda n, u, i, t: f"{u + 1}::{i + 1}::{1 + n % 5}::{t}"),
        "amazon.json": lines(
            lambda n, u, i, t: json.dumps(
                {"overall": 5.0, "reviewerID": f"A{u:013d}", "asin": asin(i), "text": "a,\n b", "unixReviewTime": t}
            )
        ),
        "uint64.csv": lines(lambda n, u, i, t: f"{WIDE * (u + 1) % 2**64},{WIDE * (i + 7) % 2**64},{t}", names),
        "mixedfloatids.csv": lines(lambda n, u, i, t: f"{u}{'.0' if n % 2 else ''},{i},{i % 7},{t}", full),
        "items_float.csv": "item_id,category_id\n" + "".join(f"{i}.0,{i % 7}.0\n" for i in range(120)),
        "nullwords.csv": lines(
            lambda n, u, i, t: f"{'NULL' if n < 185 else 'null' if n < 370 else f'u{u}'},{i},{chr(92) + 'N' if i % 4 == 0 else i % 7},{t}",
            full,
        ),
        "upper_header.csv": lines(lambda n, u, i, t: f"{u},{i},{i % 7},pv,{t}", "User_ID,Item_ID,Category_ID,Behavior_Type,Timestamp"),
        "comment.csv": "# exported 2024\n" + lines(lambda n, u, i, t: f"{u},{i},{t}", names),
        "retailrocket.csv": lines(
            lambda n, u, i, t: f"{t}873,{1000 + u},{'view' if n % 9 else 'addtocart' if n % 2 else 'transaction'},{50000 + i},",
            "timestamp,visitorid,event,itemid,transactionid",
        ),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    titled = lines(lambda n, u, i, t: f'{u},{i},"Film café {i}",{t}', titles)
    (out / "latin1.csv").write_bytes(titled.encode("latin-1"))
    nul = lines(lambda n, u, i, t: f"{u},{i},{'a' + chr(0) + 'c' if n == 2000 else 'abc'},{t}", titles)
    (out / "nul.csv").write_bytes(nul.encode())
    users, items, times = (np.array(column) for column in zip(*EVENTS, strict=True))
    parquet(out / "cat_null.parquet", category_id=pa.array([None if i % 4 == 0 else f"c{i % 7}" for i in items.tolist()]))
    first = np.arange(2400) == 7
    parquet(out / "item_nan.parquet", item_id=pa.array(np.where(first, np.nan, items + 2053013555631882.0)))
    parquet(out / "nan_bigfloat.parquet", user_id=pa.array(np.where(np.arange(2400) % 50 == 0, np.nan, users + 12345000000000.0)))
    parquet(out / "rating.parquet", rating=pa.array(1 + np.arange(2400) % 9 / 2.0))
    parquet(out / "iso_str.parquet", timestamp=pa.array([iso(time) for time in times.tolist()]))
    parquet(out / "date32.parquet", timestamp=pa.array(times // 86400, pa.int32()).cast(pa.date32()))
    parquet(out / "dec.parquet", item_id=pa.array([Decimal(item) for item in items.tolist()], pa.decimal128(38, 0)))
    parquet(out / "binary.parquet", user_id=pa.array([f"u{user}".encode() for user in users.tolist()]))
    struct = pa.array([{"id": user, "geo": "x"} for user in users.tolist()])
    pq.write_table(pa.table({"user": struct, "item_id": items, "timestamp": times}), out / "nested.parquet")
    for number, kind in enumerate(("buy", "pv")):
        directory = out / "hive" / f"behavior_type={quote(kind)}"
        directory.mkdir(parents=True)
        table = pa.table({"user_id": users, "item_id": items, "timestamp": times})
        pq.write_table(table.filter(pa.array(np.arange(2400) % 2 == number)), directory / "part-0.parquet")
    plain = texts["plain.csv"].encode()
    with zipfile.ZipFile(out / "UserBehavior.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("UserBehavior.csv", plain)
    (out / "plain.csv.gz").write_bytes(gzip.compress(plain))
    (out / "plain.csv.bz2").write_bytes(bz2.compress(plain[:20000]) + bz2.compress(plain[20000:]))
    (out / "plain.csv.xz").write_bytes(lzma.compress(plain))
    with pa.CompressedOutputStream(str(out / "plain.csv.zst"), "zstd") as stream:
        stream.write(plain)
