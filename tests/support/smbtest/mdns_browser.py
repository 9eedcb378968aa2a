"""Says what comes and goes by multicast DNS, and who sends UDP where: `mdns_browser.py ADDRESS...`.

A line for each service of `TYPES` that comes ("+"), with all that is told of it, or goes ("-"); and
one for each ("!") interface, address and port by which a datagram came, and whether it is for a
multicast DNS resolver's own port or another one ([RFC6762] 6.7). When a service came, such a simple
resolver asks on all interfaces.
"""

import json
import socket
import sys
import threading

from zeroconf import DNSOutgoing, DNSQuestion, ServiceBrowser, ServiceListener, Zeroconf
from zeroconf.const import _CLASS_IN, _FLAGS_QR_QUERY, _TYPE_PTR

TYPES = [f"{name}._tcp.local." for name in ("_smb", "_adisk", "_device-info")]
GROUP, PORT = "224.0.0.251", 5353
ETH_P_IP, UDP = 0x0800, 17


def say(kind: str, **what: object) -> None:
    """Print a line."""
    print(json.dumps({"kind": kind} | what), flush=True)


class Listener(ServiceListener):
    """Tells of the services."""

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Tell of one that came, and ask for all of its kind."""
        found = zc.get_service_info(type_, name)
        if found is None:
            return
        say(
            "+",
            name=name,
            host=found.server,
            port=found.port,
            addresses=found.parsed_addresses(),
            texts={key.decode(): (text or b"").decode() for key, text in found.properties.items()},
        )
        for number, simple in enumerate(reversed(resolvers), 1):
            question = DNSOutgoing(_FLAGS_QR_QUERY, multicast=False, id_=number)
            question.add_question(DNSQuestion(type_, _TYPE_PTR, _CLASS_IN))
            simple.sendto(question.packets()[0], (GROUP, PORT))

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Nothing is changed."""

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Tell of one that went."""
        say("-", name=name)


def listen() -> None:
    """Tell who sends UDP to this machine, each once."""
    seen = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as sock:
        while True:
            packet, (interface, *_) = sock.recvfrom(65536)
            start = (packet[0] & 15) * 4
            source = socket.inet_ntoa(packet[12:16])
            port, to = (int.from_bytes(packet[at : at + 2]) for at in (start, start + 2))
            sender = interface, source, port, to == PORT
            if packet[9] == UDP and sender not in seen:
                seen.add(sender)
                say("!", on=interface, source=source, port=port, simple=to != PORT)


addresses = sys.argv[1:]
resolvers = []
for address in addresses:
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((address, 0))
    resolver.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    resolvers.append(resolver)
threading.Thread(target=listen, daemon=True).start()
browser = ServiceBrowser(Zeroconf(interfaces=list(addresses)), TYPES, Listener())
say("ready")
sys.stdin.read()
