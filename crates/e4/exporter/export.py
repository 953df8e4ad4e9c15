"""Exports what a running E4 process holds, as JSON that `polity_e4::export` reads.

Call it inside of the process, while nothing else changes the objects:

    from export import export
    export("e4.json", lattice, clock, tree)

`leaves` may name the tree's leaves as (key, data, originator) in the order of their insertion; without it
they are looked for in the tree. The reader computes the digests of scores and tree again and refuses
an export that does not give the ones which E4 reports, so a wrong guess is noticed.

Standard library only. Python 3.9 or later.
"""

import json
import os
import struct
from collections.abc import Mapping

FORMAT = "polity-e4-export/1"


def export(path, lattice, clock, tree=None, leaves=None):
    """Writes the export to `path`, whole or not at all."""
    text = json.dumps(collect(lattice, clock, tree, leaves), indent=1, sort_keys=True)
    beside = f"{path}.part"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def collect(lattice, clock, tree=None, leaves=None):
    """The export as plain lists and dictionaries."""
    if leaves is None:
        leaves = [] if tree is None else find_leaves(tree)
    return {
        "format": FORMAT,
        "package_version": package_version(),
        "local_peer": lattice.peer_id,
        "scores": [
            {"peer": peer, "evidence": evidence_of(lattice.get_trust(peer))}
            for peer in sorted(call(lattice.known_peers))
        ],
        "clock": [] if clock is None else clock_entries(clock.serialize_compact()),
        "tree": {
            "branching_factor": 256 if tree is None else tree.branching_factor,
            "compat": False if tree is None else bool(tree.compatibility_mode),
            "leaves": [
                {
                    "key": as_text(key),
                    "data_hex": bytes(data).hex(),
                    "originator": as_text(originator),
                }
                for key, data, originator in leaves
            ],
        },
        "digests": {
            "trust_root": lattice.compute_trust_root(),
            "merkle_root": "" if tree is None else call(tree.root_hash),
        },
    }


def package_version():
    try:
        import crdt_merge
    except ImportError:
        return "unknown"
    return str(getattr(crdt_merge, "__version__", "unknown"))


def call(member):
    """A property's value, or what a method returns."""
    return member() if callable(member) else member


def as_text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def f64_hex(number):
    return struct.pack(">d", number).hex()


def evidence_of(score):
    """The amounts of a score: the one member that maps dimensions to observers to numbers."""
    found = [value for value in members(score) if is_evidence(value)]
    filled = [value for value in found if value]
    if len(filled) > 1 or not found:
        raise LookupError(f"cannot tell the evidence of {type(score).__name__} from its members")
    evidence = filled[0] if filled else {}
    return {
        as_text(dimension): [
            {"observer": as_text(observer), "amount_f64": f64_hex(amount)}
            for observer, amount in sorted(observers.items())
        ]
        for dimension, observers in evidence.items()
    }


def is_evidence(value):
    return isinstance(value, Mapping) and all(
        isinstance(observers, Mapping)
        and all(isinstance(amount, (int, float)) for amount in observers.values())
        for observers in value.values()
    )


def members(thing):
    """Values of an object's members, with and without slots."""
    names = list(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = getattr(kind, "__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return [getattr(thing, name) for name in dict.fromkeys(names) if hasattr(thing, name)]


def find_leaves(tree):
    """The leaves of a tree: the one member that maps keys to data and originator."""
    count = call(tree.leaf_count)
    found = []
    for value in members(tree):
        if isinstance(value, Mapping) and len(value) == count:
            leaves = [leaf_of(key, leaf) for key, leaf in value.items()]
            if all(leaf is not None for leaf in leaves):
                found.append(leaves)
    if not found:
        raise LookupError("cannot find the leaves: give them as `leaves`, in the order of insertion")
    return found[0]


def leaf_of(key, leaf):
    if isinstance(leaf, (tuple, list)):
        parts = list(leaf)
    else:
        parts = [getattr(leaf, name, None) for name in ("data", "originator")]
    data = [part for part in parts if isinstance(part, (bytes, bytearray))]
    texts = [part for part in parts if isinstance(part, str) and part != key]
    if len(data) != 1 or len(texts) != 1:
        return None
    return key, data[0], texts[0]


def clock_entries(data):
    """Reads the bytes of a clock: u16 length, id, u64 time, f64 trust."""
    entries = []
    while data:
        (length,) = struct.unpack_from(">H", data)
        peer = data[2 : 2 + length].decode("utf-8")
        time, trust = struct.unpack_from(">Qd", data, 2 + length)
        entries.append({"peer": peer, "time": str(time), "trust_f64": f64_hex(trust)})
        data = data[2 + length + 16 :]
    return entries
