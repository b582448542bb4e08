"""A real OMEMO client for the tests: slixmpp with python-omemo (both versions) or omemo-dr (Gajim's library, the older one).

    omemo-peer.py LIBRARY JID PASSWORD PORT STATE     LIBRARY: `omemo`, `two` (python-omemo, the newer version alone) or `dr`

It reads commands from standard input and reports on standard output, one JSON object a line each. Commands have the member
`do`: `send` (to, text, ns, also: more readers), `room` (room, people; joins, and sends texts for these people there), `make` (room, members; makes a
members-only room that shows addresses), `forget` (jid; drops sessions as after a loss), `raw` and `ask` (xml; an iq
to the own account), `sync` (answers `synced`), `quit`.
Reports have the member `event`: `ready`, `message`, `empty`, `unreadable`, `plain`, `sent`, `synced`, `answered`, `failed`.

STATE keeps keys and sessions between two runs. Everything is trusted at first sight, certificates are not checked: for
loopback only.
"""

import asyncio
import json
import logging
import os
import pickle
import ssl
import sys
import threading
import warnings
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

from omemo_libraries import CLIENT, OLD, SCE, TWO, Memory, MemoryStore, b64, child, unb64

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
PUBSUB = "http://jabber.org/protocol/pubsub"
FORMS = "jabber:x:data"


def report(event, **parts):
    print(json.dumps({"event": event, **parts}), flush=True)


async def published(publish):
    """Publishes, and tries again after a failure: ejabberd's database refuses one of two writers that come at once."""
    for _ in range(5):
        try:
            return await publish()
        except Exception as error:
            failed = error
            await asyncio.sleep(0.5)
    raise failed


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, state, library):
        super().__init__(jid, password)
        self.ssl_context = ssl._create_unverified_context()
        self.enable_direct_tls = False
        self.auto_reconnect = False
        self.own, self.state, self.rooms, self.queue = jid, state, {}, asyncio.Queue()
        for plugin in "xep_0030", "xep_0045", "xep_0060", "xep_0163", "xep_0280", "xep_0334":
            self.register_plugin(plugin)
        self.library = library(self)
        self.add_event_handler("session_start", lambda _: asyncio.ensure_future(self.work()))
        self.add_event_handler("failed_all_auth", lambda _: self.end("login refused"))
        # slixmpp's own event wants a body, which not all encrypted messages have.
        self.register_handler(Callback("any", StanzaPath("message"), self.note))

    def end(self, why=None):
        if why:
            report("failed", why=why)
        self.save()
        os._exit(1 if why else 0)

    def save(self):
        content = self.library.content()
        with open(self.state + ".new", "wb") as file:
            pickle.dump(content, file)
        os.replace(self.state + ".new", self.state)

    def saved(self):
        if os.path.exists(self.state):
            with open(self.state, "rb") as file:
                return pickle.load(file)
        return None

    async def work(self):
        try:
            await self.library.prepare()
            self.send_presence()
            await self["xep_0280"].enable()
            self.save()
            report("ready", **self.library.identity())
            lines = asyncio.Queue()
            loop = asyncio.get_running_loop()

            def read():
                for line in sys.stdin:
                    loop.call_soon_threadsafe(lines.put_nowait, line)
                loop.call_soon_threadsafe(lines.put_nowait, '{"do": "quit"}')

            threading.Thread(target=read, daemon=True).start()
            asyncio.ensure_future(self.receive())
            while True:
                command = json.loads(await lines.get())
                await getattr(self, "do_" + command.pop("do"))(**command)
                self.save()
        except Exception as error:  # the test wants to know
            self.end("%s: %s" % (type(error).__name__, error))

    def note(self, message):
        """Keeps a message for its turn, with the real address of an occupant who may be gone by then."""
        real = None
        if message["type"] == "groupchat":
            real = self["xep_0045"].get_jid_property(message["from"].bare, message["from"].resource, "jid")
        self.queue.put_nowait((message, real))

    async def receive(self):
        while True:
            stanza, real = await self.queue.get()
            message = stanza
            for kind in "carbon_received", "carbon_sent":
                if stanza.xml.find("{urn:xmpp:carbons:2}%s" % kind.split("_")[1]) is not None:
                    message = stanza[kind]
            namespaces = [ns for ns in (TWO, OLD) if message.xml.find("{%s}encrypted" % ns) is not None]
            if not namespaces:
                if message["body"]:
                    report("plain", sender=str(message["from"]), text=message["body"])
                continue
            sender = message["from"].bare
            if real:
                sender = slixmpp.JID(real).bare
            about = {"sender": sender, "id": message["id"], "both": len(namespaces) == 2}
            try:
                read = await self.library.decrypt(message.xml, namespaces, sender)
            except Exception as error:
                report("unreadable", why="%s: %s" % (type(error).__name__, error), **about)
                continue
            finally:
                self.save()
            if read is None:
                continue
            text = read.pop("text")
            report("empty" if text is None else "message", text=text, **about, **read)

    async def do_send(self, to, text, ns=OLD, also=()):
        element = await self.library.encrypt([to, *also], text, ns)
        self.post(to, "chat", element, ns)

    async def do_room(self, room, people, text=None, ns=OLD):
        if room not in self.rooms:
            await self["xep_0045"].join_muc_wait(slixmpp.JID(room), slixmpp.JID(self.own).user, maxstanzas=0, timeout=10)
            self.rooms[room] = True
        if text is not None:
            self.post(room, "groupchat", await self.library.encrypt(people, text, ns, room), ns)
        else:
            report("synced")

    async def do_make(self, room, members):
        muc = self["xep_0045"]
        await self.do_room(room, [])
        form = await muc.get_room_config(room)
        form["type"] = "submit"
        fields = form.get_fields()
        for name, value in ("membersonly", True), ("whois", "anyone"), ("persistentroom", True):
            if "muc#roomconfig_" + name in fields:
                fields["muc#roomconfig_" + name]["value"] = value
        await muc.set_room_config(room, form)
        for jid in members:
            await muc.set_affiliation(room, jid=jid, affiliation="member")
        report("synced")

    async def do_raw(self, xml, kind="set"):
        """Sends an iq about the own account and reports its answer."""
        iq = self.make_iq_set() if kind == "set" else self.make_iq_get()
        iq.append(ET.fromstring(xml))
        try:
            answer = await iq.send(timeout=10)
            report("answered", xml=str(answer))
        except slixmpp.exceptions.IqError as error:
            report("answered", xml=str(error.iq))

    async def do_ask(self, xml):
        await self.do_raw(xml, "get")

    async def do_forget(self, jid):
        await self.library.forget(jid)
        report("synced")

    async def do_sync(self):
        report("synced")

    async def do_quit(self):
        self.end()

    def post(self, to, kind, element, ns):
        message = self.make_message(mto=to, mtype=kind)
        message.append(element)
        if ns == OLD:
            message["body"] = "This message is encrypted."
        child(message.xml, "urn:xmpp:hints", "store")
        message.send()
        self.save()
        report("sent")


class PythonOmemo:
    """slixmpp-omemo for the device, python-omemo's core for messages: the plugin cannot read envelopes."""

    namespaces = [TWO, OLD]

    def __init__(self, client):
        from slixmpp.plugins import register_plugin
        from slixmpp_omemo import TrustLevel, XEP_0384

        self.limit()
        self.client, self.memory = client, Memory()
        self.memory.data = client.saved() or {}
        library = self

        class Plugin(XEP_0384):
            @property
            def storage(self):
                return library.memory

            @property
            def _btbv_enabled(self):
                return True

            async def _devices_blindly_trusted(self, blindly_trusted, identifier):
                pass

            async def _prompt_manual_trust(self, manually_trusted, identifier):
                for device in manually_trusted:
                    await library.manager.set_trust(device.bare_jid, device.identity_key, TrustLevel.TRUSTED.name)

        register_plugin(Plugin)
        client.register_plugin("xep_0384", module=sys.modules[__name__])

    def limit(self):
        """Leaves out the versions that this client does not have."""
        import slixmpp_omemo.xep_0384 as plugin

        make, namespaces = plugin._make_session_manager, self.namespaces

        def limited(*args):
            whole = make(*args)

            class Manager(whole):
                @classmethod
                async def create(cls, backends, *rest, **named):
                    some = [backend for backend in backends if backend.namespace in namespaces]
                    return await super().create(some, *rest, **named)

                @staticmethod
                async def _upload_bundle(bundle):
                    await published(lambda: whole._upload_bundle(bundle))

                @staticmethod
                async def _upload_device_list(namespace, device_list):
                    await published(lambda: whole._upload_device_list(namespace, device_list))

            return Manager

        plugin._make_session_manager = limited

    async def prepare(self):
        self.manager = await self.client["xep_0384"].get_session_manager()
        await self.manager.after_history_sync()
        self.own, _ = await self.manager.get_own_device_information()

    def identity(self):
        import omemo

        groups = omemo.SessionManager.format_identity_key(self.own.identity_key)
        return {"device": self.own.device_id, "fingerprint": "".join(groups)}

    def content(self):
        return self.memory.data

    async def forget(self, jid):
        for ns in self.namespaces:
            await self.manager.refresh_device_list(ns, jid)
        for device in await self.manager.get_device_information(jid):
            await self.manager.replace_sessions(device)

    async def encrypt(self, people, text, ns, room=None):
        import oldmemo.etree
        import twomemo.etree

        for jid in people:
            await self.manager.refresh_device_list(ns, jid)
        content = text.encode()
        if ns == TWO:
            envelope = ET.Element("{%s}envelope" % SCE)
            child(child(envelope, SCE, "content"), CLIENT, "body", text)
            child(envelope, SCE, "rpad", "pad")
            child(envelope, SCE, "from", jid=self.client.own)
            if room:
                child(envelope, SCE, "to", jid=room)
            content = ET.tostring(envelope)
        messages, errors = await self.manager.encrypt(frozenset(people), {ns: content}, [ns])
        for error in errors:
            report("left-out", jid=error.bare_jid, device=error.device_id)
        return (oldmemo if ns == OLD else twomemo).etree.serialize_message(next(iter(messages)))

    async def decrypt(self, stanza, namespaces, sender):
        import oldmemo.etree
        import omemo
        import twomemo.etree

        for ns in namespaces:
            element = stanza.find("{%s}encrypted" % ns)
            if ns not in self.namespaces:
                continue
            if ns == TWO:
                message = twomemo.etree.parse_message(element, sender)
            else:
                message = await oldmemo.etree.parse_message(element, sender, self.client.own, self.manager)
            mine = [exchange for key, exchange in message.keys
                    if (key.bare_jid, key.device_id) == (self.client.own, self.own.device_id)]
            try:
                content, device, _ = await self.manager.decrypt(message)
            except omemo.MessageNotForUs:
                continue
            read = {"ns": ns, "device": device.device_id, "exchange": any(mine)}
            if content is None:
                return {"text": None, **read}
            if ns == OLD:
                return {"text": content.decode(), **read}
            envelope = ET.fromstring(content)
            room = envelope.find("{%s}to" % SCE)
            return {"text": envelope.findtext("{%s}content/{%s}body" % (SCE, CLIENT)),
                    "room": None if room is None else room.get("jid"), **read}
        return None


class NewerAlone(PythonOmemo):
    namespaces = [TWO]


class OmemoDr:
    """omemo-dr; its PEP is written here."""

    def __init__(self, client):
        self.client, self.store = client, MemoryStore()
        self.store.__dict__.update(client.saved() or {})

    async def prepare(self):
        from omemo_dr.session_manager import OMEMOSessionManager
        from omemo_dr.structs import OMEMOConfig

        self.manager = OMEMOSessionManager(self.client.own, self.store, OMEMOConfig(
            default_prekey_amount=100, min_prekey_amount=80, spk_archive_seconds=86400 * 15,
            spk_cycle_seconds=86400, unacknowledged_count=2000))
        self.device = self.manager.get_our_device()
        await self.publish_bundle()
        devices = await self.devices(self.client.own)
        if self.device not in devices:
            element = ET.Element("{%s}list" % OLD)
            for device in [*devices, self.device]:
                child(element, OLD, "device", id=device)
            await self.publish(OLD + ".devicelist", element)

    def identity(self):
        return {"device": self.device, "fingerprint": self.manager.get_our_fingerprint()}

    def content(self):
        return self.store.__dict__

    async def forget(self, jid):
        for key in [key for key in self.store.sessions if key[0] == jid]:
            del self.store.sessions[key]

    async def items(self, jid, node):
        iq = self.client.make_iq_get(ito=None if jid == self.client.own else jid)
        child(child(iq.xml, PUBSUB, "pubsub"), PUBSUB, "items", node=node)
        try:
            answer = await iq.send(timeout=10)
        except slixmpp.exceptions.IqError:
            return None
        found = answer.xml.findall(".//{%s}item" % PUBSUB)
        return found[-1][0] if found and len(found[-1]) else None

    async def publish(self, node, payload):
        await published(lambda: self.publish_once(node, payload))

    async def publish_once(self, node, payload):
        iq = self.client.make_iq_set()
        pubsub = child(iq.xml, PUBSUB, "pubsub")
        child(child(pubsub, PUBSUB, "publish", node=node), PUBSUB, "item", id="current").append(payload)
        form = child(child(pubsub, PUBSUB, "publish-options"), FORMS, "x", type="submit")
        for name, value in ("FORM_TYPE", PUBSUB + "#publish-options"), ("pubsub#access_model", "open"), \
                ("pubsub#persist_items", "true"):
            child(child(form, FORMS, "field", var=name), FORMS, "value", value)
        await iq.send(timeout=10)

    async def devices(self, jid):
        payload = await self.items(jid, OLD + ".devicelist")
        return [] if payload is None else [int(device.get("id")) for device in payload.iter("{%s}device" % OLD)]

    async def publish_bundle(self):
        bundle = self.manager.get_bundle(OLD)
        element = ET.Element("{%s}bundle" % OLD)
        child(element, OLD, "signedPreKeyPublic", b64(bundle.spk["key"]), signedPreKeyId=bundle.spk["id"])
        child(element, OLD, "signedPreKeySignature", b64(bundle.spk_signature))
        child(element, OLD, "identityKey", b64(bundle.ik))
        prekeys = child(element, OLD, "prekeys")
        for key in bundle.otpks:
            child(prekeys, OLD, "preKeyPublic", b64(key["key"]), preKeyId=key["id"])
        await self.publish("%s.bundles:%d" % (OLD, self.device), element)

    async def encrypt(self, people, text, ns, room=None):
        from omemo_dr.structs import OMEMOBundle

        for jid in [*people, self.client.own]:
            self.manager.update_devicelist(jid, await self.devices(jid))
            for device in self.manager.get_devices_without_sessions(jid):
                payload = await self.items(jid, "%s.bundles:%d" % (OLD, device))
                if payload is None:
                    self.manager.remove_device(jid, device)
                    continue
                signed = payload.find("{%s}signedPreKeyPublic" % OLD)
                self.manager.build_session(jid, OMEMOBundle(
                    device_id=device, namespace=OLD, ik=unb64(payload.findtext("{%s}identityKey" % OLD)),
                    spk={"key": unb64(signed.text), "id": int(signed.get("signedPreKeyId"))},
                    spk_signature=unb64(payload.findtext("{%s}signedPreKeySignature" % OLD)),
                    otpks=[{"key": unb64(key.text), "id": int(key.get("preKeyId"))}
                           for key in payload.iter("{%s}preKeyPublic" % OLD)]))
        if room:
            self.manager.set_group_members(room, set(people))
        return self.xml(self.manager.encrypt(room or people[0], text, groupchat=room is not None))

    def xml(self, message):
        element = ET.Element("{%s}encrypted" % OLD)
        header = child(element, OLD, "header", sid=message.sid)
        for device, (data, exchange) in message.keys.items():
            key = child(header, OLD, "key", b64(data), rid=device)
            if exchange:
                key.set("prekey", "true")
        child(header, OLD, "iv", b64(message.iv))
        if message.payload is not None:
            child(element, OLD, "payload", b64(message.payload))
        return element

    async def decrypt(self, stanza, namespaces, sender):
        from omemo_dr import exceptions
        from omemo_dr.structs import OMEMOMessage

        element = stanza.find("{%s}encrypted" % OLD)
        if element is None:
            return None
        header = element.find("{%s}header" % OLD)
        payload = element.find("{%s}payload" % OLD)
        keys = {int(key.get("rid")): (unb64(key.text), key.get("prekey") in ("true", "1"))
                for key in header.iter("{%s}key" % OLD)}
        message = OMEMOMessage(
            sid=int(header.get("sid")), iv=unb64(header.findtext("{%s}iv" % OLD)), keys=keys,
            payload=None if payload is None else unb64(payload.text))
        if message.sid == self.device or self.device not in keys:
            return None
        read = {"ns": OLD, "device": message.sid, "exchange": keys[self.device][1]}
        try:
            text, _, _ = self.manager.decrypt_message(message, sender)
        except exceptions.KeyExchangeMessage:
            text = None
        if read["exchange"]:
            await self.publish_bundle()
            answer = self.client.make_message(mto=sender, mtype="chat")
            answer.append(self.xml(self.manager.encrypt_key_transport(sender, [message.sid])))
            child(answer.xml, "urn:xmpp:hints", "store")
            answer.send()
        return {"text": text, **read}


def main():
    library, jid, password, port, state = sys.argv[1:]
    client = Client(jid, password, state, {"omemo": PythonOmemo, "two": NewerAlone, "dr": OmemoDr}[library])
    client.connect("127.0.0.1", int(port))
    client.loop.run_forever()


main()
