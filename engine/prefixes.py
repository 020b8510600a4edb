"""What may stand in the prefix of an output's file name for the time and the size of a picture."""

import re
import time

_DATE = re.compile(r"%date:([^%]*)%")
_PARTS = re.compile(r"d{1,2}|M{1,2}|yyyy|yy|h{1,2}|m{1,2}|s{1,2}")


def expand_prefix(prefix: str, width: int, height: int, now: time.struct_time | None = None) -> str:
    """Fill `%width% %height% %year% %month% %day% %hour% %minute% %second%` in a file name prefix.

    And `%date:yyyy-MM-dd%`, of the parts `yyyy yy MM M dd d hh h mm m ss s`, as the ecosystem's editor does.
    """
    if "%" not in prefix:
        return prefix
    now = now or time.localtime()
    values = {
        "width": f"{width}",
        "height": f"{height}",
        "year": f"{now.tm_year}",
        "month": f"{now.tm_mon:02}",
    }
    values |= {"day": f"{now.tm_mday:02}", "hour": f"{now.tm_hour:02}", "minute": f"{now.tm_min:02}"}
    values["second"] = f"{now.tm_sec:02}"
    dated = _DATE.sub(lambda found: _date(found[1], now), prefix)
    return re.sub(r"%(\w+)%", lambda m: values.get(m[1], m[0]), dated)


def _date(form: str, now: time.struct_time) -> str:
    numbers = {"d": now.tm_mday, "M": now.tm_mon, "h": now.tm_hour, "m": now.tm_min, "s": now.tm_sec}

    def part(found: re.Match[str]) -> str:
        letters = found[0]
        if letters[0] == "y":
            return f"{now.tm_year}"[-len(letters) :]
        return f"{numbers[letters[0]]:0{len(letters)}}"

    return _PARTS.sub(part, form)
