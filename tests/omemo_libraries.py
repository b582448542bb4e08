"""What the OMEMO tests share: storage for the two Python libraries, and small helpers for their XML."""

import base64
import time
import xml.etree.ElementTree as ET

from omemo.storage import Just, Nothing, Storage
from omemo_dr.const import OMEMOTrust
from omemo_dr.identitykeypair import IdentityKeyPair
from omemo_dr.state.prekeyrecord import PreKeyRecord
from omemo_dr.state.sessionrecord import SessionRecord
from omemo_dr.state.signedprekeyrecord import SignedPreKeyRecord
from omemo_dr.state.store import Store

OLD = "eu.siacs.conversations.axolotl"
TWO = "urn:xmpp:omemo:2"
SCE = "urn:xmpp:sce:1"
CLIENT = "jabber:client"


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode("".join((text or "").split()))


def child(parent, ns, name, text=None, **attributes):
    element = ET.SubElement(parent, "{%s}%s" % (ns, name), {key: str(value) for key, value in attributes.items()})
    element.text = text
    return element


class Memory(Storage):
    """python-omemo's storage in a dictionary."""

    def __init__(self):
        super().__init__()
        self.data = {}

    async def _load(self, key):
        return Just(self.data[key]) if key in self.data else Nothing()

    async def _store(self, key, value):
        self.data[key] = value

    async def _delete(self, key):
        self.data.pop(key, None)


class MemoryStore(Store):
    """omemo-dr's store in dictionaries. Every key is trusted."""

    def __init__(self):
        self.own, self.prekeys, self.signed, self.sessions, self.last = None, {}, {}, {}, 0

    def needs_init(self): return self.own is None
    def set_our_identity(self, device_id, pair): self.own = (device_id, pair.serialize())
    def get_identity_key_pair(self): return IdentityKeyPair.from_bytes(self.own[1])
    def get_our_device_id(self): return self.own[0]
    def save_identity(self, who, key): pass
    def delete_identity(self, who, key): pass
    def is_trusted_identity(self, who, key): return True
    def set_trust(self, who, key, trust): pass
    def set_identity_last_seen(self, who, key): pass
    def get_identity_infos(self, who): return []
    def get_trust_for_identity(self, who, key): return OMEMOTrust.BLIND
    def is_trusted(self, who, device): return True
    def get_pre_key_count(self): return len(self.prekeys)
    def load_pre_key(self, i): return PreKeyRecord.from_bytes(self.prekeys[i])
    def load_pending_pre_keys(self): return [PreKeyRecord.from_bytes(data) for data in self.prekeys.values()]
    def get_current_pre_key_id(self): return self.last or None
    def store_pre_key(self, i, record): self.prekeys[i] = record.serialize(); self.last = max(i, self.last)
    def contains_pre_key(self, i): return i in self.prekeys
    def remove_pre_key(self, i): self.prekeys.pop(i, None)
    def load_signed_pre_key(self, i): return SignedPreKeyRecord.from_bytes(self.signed[i][1])
    def load_signed_pre_keys(self): return [self.load_signed_pre_key(i) for i in self.signed]
    def store_signed_pre_key(self, i, record): self.signed[i] = (int(time.time()), record.serialize())
    def contains_signed_pre_key(self, i): return i in self.signed
    def get_current_signed_pre_key_id(self): return max(self.signed, key=lambda i: self.signed[i][0])
    def get_signed_pre_key_timestamp(self, i): return self.signed[i][0]
    def remove_signed_pre_key(self, i): self.signed.pop(i, None)
    def remove_old_signed_pre_keys(self, before): pass
    def contains_session(self, who, device): return (who, device) in self.sessions
    def store_session(self, who, device, record): self.sessions[who, device] = record.serialize()
    def get_inactive_sessions_keys(self, who): return []
    def delete_session(self, who, device): self.sessions.pop((who, device), None)
    def delete_all_sessions(self, who): pass
    def get_active_device_tuples(self): return []
    def get_unacknowledged_count(self, who, device): return 0
    def set_active_state(self, who, devices): pass
    def set_inactive(self, who, device): pass

    def load_session(self, who, device):
        found = self.sessions.get((who, device))
        return SessionRecord(serialized=found) if found else SessionRecord()
