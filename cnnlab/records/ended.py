"""The last word of a journal, until its run goes on."""

from typing import ClassVar

from cnnlab.records.record import Record, Status


class Ended(Record):
    """A run, a sweep or a comparison has ended, in one way or another."""

    time: float
    status: Status
    reason: str
    """One sentence if the status is not "finished"; else empty."""

    leaves_report: ClassVar[bool] = False
    """Whether it leaves the report of many runs, not the figures and the network of one."""
