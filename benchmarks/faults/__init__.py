"""Faults injected into runs from their start to their end: is anything lost, anything false said?"""
