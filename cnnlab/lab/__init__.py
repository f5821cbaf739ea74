"""The lab: claims of the course page, each tested by training what it is about."""

from cnnlab.lab.laboratory import Lab

__all__ = ["Lab"]
