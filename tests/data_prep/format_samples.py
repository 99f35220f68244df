"""Samples in the layouts of well-known public logs, and what is in each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

USERS, ITEMS, EVENTS = 30, 20, 400
START = 1_573_776_000  # 2019-11-15 00:00 UTC


@dataclass(frozen=True)
class Sample:
    """A log in one layout; times are the first and last of the events that are taken, unix seconds."""

    format: str
    name: str
    text: str
    users: set[str]
    items: set[str]
    events: int
    times: tuple[int, int]
    options: list[str] = field(default_factory=list)


def moment(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def events(step: int = 600) -> list[tuple[int, int, int, int]]:
    """Number, user, item and time of every event, in the order of time."""
    rng = np.random.default_rng(7)
    users, items = rng.permutation(np.arange(EVENTS) % USERS), rng.permutation(np.arange(EVENTS) % ITEMS)
    return [(n, int(user), int(item), START + step * n) for n, (user, item) in enumerate(zip(users, items, strict=True))]


def sample(
    form: str,
    name: str,
    row: Callable[[int, int, int, int], str],
    user: Callable[[int], str],
    item: Callable[[int], str],
    *,
    header: str = "",
    taken: Callable[[int], bool] = lambda n: True,
    step: int = 600,
    time: Callable[[int, int], int] = lambda n, time: time,
) -> Sample:
    """Rows written by ``row`` from number, user, item and time; ``taken`` says which are of a wanted kind."""
    rows = events(step)
    kept = [event for event in rows if taken(event[0])]
    text = (header + "\n" if header else "") + "".join(row(*event) + "\n" for event in rows)
    times = [time(n, when) for n, _, _, when in kept]
    return Sample(form, name, text, {user(u) for _, u, _, _ in kept}, {item(i) for _, _, i, _ in kept}, len(kept), (times[0], times[-1]))


def asin(item: int) -> str:
    return f"{item:010d}" if item % 2 else f"B{item:09d}"


def reviewer(user: int) -> str:
    return f"A{user:013d}"


def mind() -> Sample:
    """Impressions of five news each, of which the second was clicked."""
    rows, lines = events(), []
    for n, user, item, time in rows:
        shown = " ".join(f"N{(item + k) % ITEMS}-{int(k == 1)}" for k in range(5))
        when = f"{moment(time):%m/%d/%Y %I:%M:%S %p}".lstrip("0")
        lines.append(f"{n + 1}\tU{user}\t{when}\tN1 N2\t{shown}\n")
    users, items = {f"U{user}" for _, user, _, _ in rows}, {f"N{(item + 1) % ITEMS}" for _, _, item, _ in rows}
    return Sample("mind", "behaviors.tsv", "".join(lines), users, items, EVENTS, (rows[0][3], rows[-1][3]))


def samples() -> Iterator[Sample]:
    """One sample of every layout."""
    number, plus = str, lambda value: str(value + 1)
    kinds = ("pv", "cart", "fav", "buy")

    def row(n, u, i, t):
        return f"{u},{i},{i % 3},{kinds[n % 4]},{t}"

    yield sample("userbehavior", "UserBehavior.csv", row, number, number)
    yield sample("userbehavior", "named.csv", row, number, number, header="user_id,item_id,category_id,behavior_type,timestamp")
    yield sample(
        "retailrocket",
        "events.csv",
        lambda n, u, i, t: f"{t}123,{u},{'view' if n % 5 else 'transaction'},{i},{'' if n % 5 else n}",
        number,
        number,
        header="timestamp,visitorid,event,itemid,transactionid",
    )
    rees = ("view", "cart", "remove_from_cart", "purchase")
    yield sample(
        "rees46",
        "2019-Nov.csv",
        lambda n, u, i, t: f"{moment(t):%Y-%m-%d %H:%M:%S} UTC,{rees[n % 4]},{i},{2053013555631882655 + i % 3},a.b,,{i}.99,{u},5-{u}",
        number,
        number,
        header="event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
        taken=lambda n: n % 4 != 2,
    )

    def iso(time):
        return f"{moment(time):%Y-%m-%dT%H:%M:%S}.531Z"

    yield sample("yoochoose", "yoochoose-clicks.dat", lambda n, u, i, t: f"{u},{iso(t)},{i},{'S0123'[n % 5]}", number, number)
    yield sample("yoochoose", "yoochoose-buys.dat", lambda n, u, i, t: f"{u},{iso(t)},{i},{i}00,1", number, number)
    yield sample("movielens", "ratings.dat", lambda n, u, i, t: f"{u + 1}::{i + 1}::{n % 5}::{t}", plus, plus)
    yield sample(
        "movielens", "ratings.csv", lambda n, u, i, t: f"{u},{i},{n % 9 / 2},{t}", number, number, header="userId,movieId,rating,timestamp"
    )
    yield sample("movielens", "u.data", lambda n, u, i, t: f"{u}\t{i}\t{n % 5}\t{t}", number, number)
    yield sample(
        "amazon",
        "reviews.json",
        lambda n, u, i, t: f'{{"overall": 5.0, "reviewerID": "{reviewer(u)}", "asin": "{asin(i)}", "unixReviewTime": {t}}}',
        reviewer,
        asin,
    )
    yield sample(
        "amazon",
        "reviews.jsonl",
        lambda n, u, i, t: f'{{"rating": 5.0, "user_id": "{reviewer(u)}", "asin": "x", "parent_asin": "{asin(i)}", "timestamp": {t}123}}',
        reviewer,
        asin,
    )
    yield sample(
        "amazon",
        "ratings2023.csv",
        lambda n, u, i, t: f"{reviewer(u)},{asin(i)},5.0,{t}123",
        reviewer,
        asin,
        header="user_id,parent_asin,rating,timestamp",
    )
    yield sample("amazon", "ratings2018.csv", lambda n, u, i, t: f"{asin(i)},{reviewer(u)},5.0,{t}", reviewer, asin)
    yield sample("amazon", "ratings2014.csv", lambda n, u, i, t: f"{reviewer(u)},{asin(i)},5.0,{t}", reviewer, asin)

    def of_2014(n, time):
        return int(moment(time).replace(year=2014, hour=0, minute=0, second=0).timestamp())

    yield sample(
        "tmall",
        "user_log_format1.csv",
        lambda n, u, i, t: f"{u},{i},{i % 3},{i % 2},2660.0,{f'{moment(t):%m%d}'.lstrip('0')},{n % 4}",
        number,
        number,
        header="user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type",
        time=of_2014,
    )

    def clicked(n):
        return n % 3 != 0

    yield sample(
        "tenrec",
        "QK-video.csv",
        lambda n, u, i, t: f"{u},{i},{int(clicked(n))},0,0,0,{i % 3},1,1,2",
        number,
        number,
        header="user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age",
        taken=clicked,
        time=lambda n, time: n - n // 3 - 1,
    )
    yield sample(
        "tenrec",
        "QK-article.csv",
        lambda n, u, i, t: f"{u},{i},{int(clicked(n))},0,0,0,{i % 3},1,1,2",
        number,
        number,
        header="user_id,item_id,click,follow,like,share,read_percentage,category_second,category_first,item_score1",
        taken=clicked,
        time=lambda n, time: n - n // 3 - 1,
    )
    yield sample(
        "globo",
        "clicks.csv",
        lambda n, u, i, t: f"{u},{n},{t}000,2,{i},{t}890,4,3,20,1,20,2",
        number,
        number,
        header="user_id,session_id,session_start,session_size,click_article_id,click_timestamp,click_environment,click_deviceGroup,click_os,"
        "click_country,click_region,click_referrer_type",
    )
    yield sample(
        "lastfm",
        "1k.tsv",
        lambda n, u, i, t: f'user_{u:06d}\t{moment(t):%Y-%m-%dT%H:%M:%SZ}\t\t"Artist{i}\t\tSong "{n}"',
        lambda user: f"user_{user:06d}",
        lambda item: f'"Artist{item}',
    )
    yield sample("lastfm", "lfm.tsv", lambda n, u, i, t: f"{u}\t{i % 5}\t{i % 7}\t{i}\t{t}", number, number)
    yield sample(
        "lastfm",
        "user_taggedartists-timestamps.dat",
        lambda n, u, i, t: f"{u}\t{i}\t{n % 9}\t{t}000",
        number,
        number,
        header="userID\tartistID\ttagID\ttimestamp",
    )
    yield sample(
        "lastfm",
        "360k.tsv",
        lambda n, u, i, t: f"{u:040x}\t{i:08x}\tartist {i}\t{n}",
        lambda user: f"{user:040x}",
        lambda item: f"artist {item}",
        time=lambda n, time: n,
    )
    yield mind()
