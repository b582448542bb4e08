"""The test that scripts/omemo-interop runs: talks to the example `json_peer` of the crate `omemo`."""

import asyncio
import base64
import json
import logging
import random
import subprocess
import sys
import xml.etree.ElementTree as ET

import oldmemo
import oldmemo.etree
import omemo
import omemo_dr.exceptions
import twomemo
import twomemo.etree
from omemo_dr.session_manager import OMEMOSessionManager
from omemo_dr.structs import OMEMOBundle, OMEMOConfig, OMEMOMessage

from omemo_libraries import CLIENT, OLD, SCE, TWO, Memory, MemoryStore, b64, child, unb64

OURS = "ours@a.example"
THEIRS = "theirs@b.example"
ROUNDS = 12


class Refused(Exception):
    """The other side did not decrypt a message."""


class Ours:
    """The crate."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.__dict__.update(self.ask("new", jid=OURS))

    def ask(self, what, **parts):
        self.process.stdin.write(json.dumps({"do": what, **parts}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class PythonOmemo:
    """python-omemo in one version."""

    def __init__(self, ns, ours):
        self.ns, self.ours, self.bundle, self.sent = ns, ours, None, []
        self.etree = (oldmemo if ns == OLD else twomemo).etree

    async def prepare(self):
        peer = self

        class Manager(omemo.SessionManager):
            @staticmethod
            async def _upload_bundle(bundle):
                peer.bundle = bundle

            @staticmethod
            async def _download_bundle(namespace, bare_jid, device_id):
                assert (namespace, bare_jid, device_id) == (peer.ns, OURS, peer.ours.device)
                element = ET.fromstring(peer.ours.ask("bundle", version=peer.ns)["xml"])
                return peer.etree.parse_bundle(element, bare_jid, device_id)

            @staticmethod
            async def _delete_bundle(namespace, device_id):
                raise AssertionError("nothing is deleted here")

            @staticmethod
            async def _upload_device_list(namespace, device_list):
                pass

            @staticmethod
            async def _download_device_list(namespace, bare_jid):
                return {peer.ours.device: None} if bare_jid == OURS else {}

            async def _evaluate_custom_trust_level(self, device):
                return omemo.TrustLevel.TRUSTED

            async def _make_trust_decision(self, undecided, identifier):
                raise AssertionError("everything is trusted here")

            @staticmethod
            async def _send_message(message, bare_jid):
                peer.sent.append(ET.tostring(peer.etree.serialize_message(message)).decode())

        storage = Memory()
        backend = (oldmemo.Oldmemo if self.ns == OLD else twomemo.Twomemo)(storage)
        self.manager = await Manager.create([backend], storage, THEIRS, None, "trusted")
        await self.manager.after_history_sync()
        await self.manager.refresh_device_list(self.ns, OURS)
        self.own, _ = await self.manager.get_own_device_information()
        self.device = self.own.device_id
        self.fingerprint = "".join(omemo.SessionManager.format_identity_key(self.own.identity_key))

    async def bundle_xml(self):
        return ET.tostring(self.etree.serialize_bundle(self.bundle)).decode()

    async def send(self, text):
        if self.ns == OLD:
            content = text.encode()
        else:
            envelope = ET.Element("{%s}envelope" % SCE)
            child(child(envelope, SCE, "content"), CLIENT, "body", text)
            child(envelope, SCE, "rpad", "x" * random.randrange(200))
            child(envelope, SCE, "from", jid=THEIRS)
            content = ET.tostring(envelope)
        messages, errors = await self.manager.encrypt(frozenset([OURS]), {self.ns: content})
        assert not errors, errors
        (message,) = messages
        return ET.tostring(self.etree.serialize_message(message)).decode()

    async def receive(self, xml):
        element = ET.fromstring(xml)
        if self.ns == OLD:
            message = await self.etree.parse_message(element, OURS, THEIRS, self.manager)
        else:
            message = self.etree.parse_message(element, OURS)
        try:
            content, device, _ = await self.manager.decrypt(message)
        except omemo.OMEMOException as error:
            raise Refused(repr(error)) from error
        assert device.device_id == self.ours.device
        if content is None or self.ns == OLD:
            return content and content.decode()
        return ET.fromstring(content).findtext("{%s}content/{%s}body" % (SCE, CLIENT))

    async def empties(self):
        """The empty messages that the library wanted to send."""
        sent, self.sent = self.sent, []
        return sent

    async def close(self):
        await self.manager.shutdown()


class OmemoDr:
    """omemo-dr, in the older version."""

    def __init__(self, ns, ours):
        assert ns == OLD
        self.ns, self.ours, self.answers = ns, ours, []

    async def prepare(self):
        self.manager = OMEMOSessionManager(THEIRS, MemoryStore(), OMEMOConfig(
            default_prekey_amount=100, min_prekey_amount=80, spk_archive_seconds=86400 * 15,
            spk_cycle_seconds=86400, unacknowledged_count=2000))
        self.device = self.manager.get_our_device()
        self.fingerprint = self.manager.get_our_fingerprint()

    async def bundle_xml(self):
        bundle = self.manager.get_bundle(OLD)
        element = ET.Element("{%s}bundle" % OLD)
        child(element, OLD, "signedPreKeyPublic", b64(bundle.spk["key"]), signedPreKeyId=bundle.spk["id"])
        child(element, OLD, "signedPreKeySignature", b64(bundle.spk_signature))
        child(element, OLD, "identityKey", b64(bundle.ik))
        prekeys = child(element, OLD, "prekeys")
        for key in bundle.otpks:
            child(prekeys, OLD, "preKeyPublic", b64(key["key"]), preKeyId=key["id"])
        return ET.tostring(element).decode()

    def xml(self, message):
        element = ET.Element("{%s}encrypted" % OLD)
        header = child(element, OLD, "header", sid=message.sid)
        for rid, (data, prekey) in message.keys.items():
            key = child(header, OLD, "key", base64.b64encode(data).decode(), rid=rid)
            if prekey:
                key.set("prekey", "true")
        child(header, OLD, "iv", base64.b64encode(message.iv).decode())
        if message.payload is not None:
            child(element, OLD, "payload", base64.b64encode(message.payload).decode())
        return ET.tostring(element).decode()

    async def send(self, text):
        self.manager.update_devicelist(OURS, [self.ours.device])
        if self.manager.get_devices_without_sessions(OURS):
            element = ET.fromstring(self.ours.ask("bundle", version=OLD)["xml"])
            signed = element.find("{%s}signedPreKeyPublic" % OLD)
            self.manager.build_session(OURS, OMEMOBundle(
                device_id=self.ours.device, namespace=OLD, ik=unb64(element.findtext("{%s}identityKey" % OLD)),
                spk={"key": unb64(signed.text), "id": int(signed.get("signedPreKeyId"))},
                spk_signature=unb64(element.findtext("{%s}signedPreKeySignature" % OLD)),
                otpks=[{"key": unb64(key.text), "id": int(key.get("preKeyId"))}
                       for key in element.iter("{%s}preKeyPublic" % OLD)]))
        return self.xml(self.manager.encrypt(OURS, text, groupchat=False))

    async def receive(self, xml):
        element = ET.fromstring(xml)
        header = element.find("{%s}header" % OLD)
        payload = element.find("{%s}payload" % OLD)
        keys = {int(key.get("rid")): (unb64(key.text), key.get("prekey") in ("true", "1"))
                for key in header.iter("{%s}key" % OLD)}
        message = OMEMOMessage(
            sid=int(header.get("sid")), iv=unb64(header.findtext("{%s}iv" % OLD)), keys=keys,
            payload=None if payload is None else unb64(payload.text))
        try:
            text, _, _ = self.manager.decrypt_message(message, OURS)
        except omemo_dr.exceptions.KeyExchangeMessage:
            text = None
        except Exception as error:
            raise Refused(repr(error)) from error
        if keys[self.device][1]:
            self.answers.append(self.xml(self.manager.encrypt_key_transport(OURS, [self.ours.device])))
        return text

    async def empties(self):
        answers, self.answers = self.answers, []
        return answers

    async def close(self):
        pass


class Talk:
    """One conversation."""

    def __init__(self, ours, theirs, chance):
        self.ours, self.theirs, self.chance = ours, theirs, chance
        self.messages = 0

    def we_send(self, text):
        return self.ours.ask("send", version=self.theirs.ns, jid=THEIRS, device=self.theirs.device, text=text)["xml"]

    def we_receive(self, xml):
        answer = self.ours.ask("receive", jid=THEIRS, xml=xml)
        self.messages += 1
        if answer["answer_due"]:
            self.due = True
        return answer["text"]

    async def settle(self):
        """Delivers the empty messages that both sides owe."""
        for xml in await self.theirs.empties():
            assert self.we_receive(xml) is None
        if self.__dict__.pop("due", False):
            assert await self.theirs.receive(self.we_send(None)) is None

    async def batch(self, outgoing, count, label):
        """Sends messages one way; they arrive in another order, one of them altered at first and one twice."""
        texts = ["%s %d grüße ☃" % (label, number) for number in range(count)]
        sent = [(text, self.we_send(text) if outgoing else await self.theirs.send(text)) for text in texts]
        self.chance.shuffle(sent)
        for text, xml in sent:
            if outgoing:
                assert await self.theirs.receive(xml) == text
                self.messages += 1
            else:
                await self.refused(altered(xml))
                assert self.we_receive(xml) == text
                await self.refused(xml)
        if outgoing:
            try:
                again = await self.theirs.receive(sent[0][1])
            except Refused:
                again = None
            assert again is None, "the other side read a message twice"

    async def refused(self, xml):
        try:
            self.we_receive(xml)
        except Refused:
            return
        raise AssertionError("a repeated or altered message was read")


def altered(xml):
    """The message with another bit at the end of the ratchet message, which both kinds of key have inside."""
    element = ET.fromstring(xml)
    for key in element.iter():
        if key.tag.endswith("}key"):
            data = bytearray(unb64(key.text))
            data[-16] ^= 1
            key.text = base64.b64encode(bytes(data)).decode()
    return ET.tostring(element).decode()


async def converse(program, kind, ns, we_start, seed):
    ours = Ours(program)
    theirs = kind(ns, ours)
    await theirs.prepare()
    talk = Talk(ours, theirs, random.Random(seed))
    if we_start:
        answer = ours.ask("start", jid=THEIRS, device=theirs.device, xml=await theirs.bundle_xml())
        assert answer["fingerprint"] == theirs.fingerprint, (answer, theirs.fingerprint)
    # Several messages before the first answer.
    await talk.batch(we_start, 4, "first")
    await talk.settle()
    for number in range(ROUNDS):
        await talk.batch(number % 2 == 0, talk.chance.randrange(1, 8), "round %d" % number)
        await talk.batch(number % 2 == 1, talk.chance.randrange(1, 8), "round %d" % number)
        ours.ask("reload")
        await talk.settle()
    # A chain without answers.
    await talk.batch(we_start, 60, "long")
    await talk.settle()
    await talk.batch(not we_start, 3, "last")
    await theirs.close()
    ours.close()
    who = "the crate starts" if we_start else "the other starts"
    print("%-14s %-32s %-18s %d messages read" % (kind.__name__, ns, who, talk.messages), flush=True)


async def main(program):
    logging.disable(logging.CRITICAL)
    for kind, ns in [(PythonOmemo, OLD), (PythonOmemo, TWO), (OmemoDr, OLD)]:
        for we_start in (True, False):
            for seed in range(3):
                await converse(program, kind, ns, we_start, seed)
    print("all conversations were read")


asyncio.run(main(sys.argv[1]))
