"""The base of the reload tests: tests replace the listener's files while it runs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from tests.security.base import SecurityTestCase
from tests.security.client import post
from tests.support.certificates import SERVER, authority, local_names, pem

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tests.security.base import Deployment
    from tests.security.client import Connection
    from tests.support.certificates import Holder

LISTENER, ACCESS = "TLS of the HTTPS listener", "access file"
BROKEN_RULES = (b"[", b"", b"{}", b"[{identities: [client]}]", b"[{identities: [], routingKeys: [a]}]", b"\xff")
EVERYBODY = [{"identities": ["*"], "routingKeys": ["#"]}]


def replace(path: Path, content: bytes) -> None:
    """Replace a file atomically, by a rename."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


class ReloadTestCase(SecurityTestCase):
    """A listener whose files are replaced; clients trust the old and the new CA."""

    root: ClassVar[Holder]
    other_root: ClassVar[Holder]
    intermediate: ClassVar[Holder]

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """The files. Certificate and key are behind links, as in a volume of Kubernetes, and behind one more link."""
        ReloadTestCase.root, ReloadTestCase.other_root = authority("first root"), authority("second root")
        ReloadTestCase.intermediate = cls.root.issue("intermediate", is_ca=True)
        folder = deployment.folder
        (folder / "trusted-by-clients.pem").write_bytes(pem(cls.root.certificate, cls.other_root.certificate))
        volume = folder / "volume"
        volume.mkdir()
        (folder / "links").mkdir()
        cls.write_baseline(folder)
        for name in ("tls.crt", "tls.key"):
            (volume / name).symlink_to(f"..data/{name}")
        names = {"HTTP_CACERT": "ca.pem", "HTTP_CRL": "crl.pem", "HTTP_ACCESS": "access.yaml"}
        pair = {"HTTP_CERT": "links/mounted/tls.crt", "HTTP_KEY": "links/mounted/tls.key"}
        return {variable: str(folder / name) for variable, name in {**names, **pair}.items()}

    @classmethod
    def write_baseline(cls, folder: Path) -> None:
        """All files as they are at the beginning of each test."""
        cls.new_volume(folder / "volume", cls.server_holder())
        cls.mount(folder, "volume")
        replace(folder / "ca.pem", pem(cls.root.certificate))
        authorities = (cls.root, cls.other_root, cls.intermediate)
        replace(folder / "crl.pem", b"".join(each.revocation_list() for each in authorities))
        replace(folder / "access.yaml", yaml.safe_dump(EVERYBODY).encode())

    @classmethod
    def server_holder(cls) -> Holder:
        """A new certificate for the listener."""
        return cls.root.issue("gateway", purpose=SERVER, names=local_names())

    @staticmethod
    def new_volume(volume: Path, holder: Holder) -> None:
        """Put certificate and key into a volume as Kubernetes does: a new folder, and one rename of the link to it."""
        made = volume / f"..{holder.certificate.serial_number}"
        made.mkdir()
        holder.write(made / "tls.crt", made / "tls.key")
        (volume / "..data_tmp").symlink_to(made.name)
        (volume / "..data_tmp").rename(volume / "..data")

    @staticmethod
    def mount(folder: Path, name: str) -> None:
        """Point the link that all paths go through to this volume."""
        (folder / "links" / "next").symlink_to(f"../{name}")
        (folder / "links" / "next").rename(folder / "links" / "mounted")

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.deployment.folder
        self.volume = self.folder / "volume"
        self.client = self.root.issue("client")
        self.begin_anew()

    def begin_anew(self) -> None:
        """Load the files of the baseline.

        A reload may be due at any time, from a change before: a line says "loaded again" of the baseline only if it
        comes after the line about an access file that is wrong in its own way. The access file is read last.
        """
        marker, begin = uuid.uuid4().hex, len(self.gateway.log)
        self.write_baseline(self.folder)
        replace(self.folder / "access.yaml", b"[%s]" % marker.encode())
        self.gateway.hang_up()
        self.gateway.logged(marker, begin)
        self.log_begin = len(self.gateway.log)
        replace(self.folder / "access.yaml", yaml.safe_dump(EVERYBODY).encode())
        self.reload(ACCESS)

    def tls_of(self, holder: Holder | None, **how: object) -> ssl.SSLContext:
        return super().tls_of(holder, **{"trusted": self.folder / "trusted-by-clients.pem", **how})

    def kept(self, holder: Holder) -> Connection:
        """A connection that has served a request and stays open."""
        connection = self.connect(self.tls_of(holder))
        self.assertEqual(connection.ask(post(b"1")).status, 200)
        return connection

    def reload(self, what: str = LISTENER) -> None:
        """Send SIGHUP, and wait until the files have been read."""
        self.gateway.hang_up()
        self.gateway.logged(f"{what}: loaded again", self.log_begin)
        self.log_begin = len(self.gateway.log)

    def shown(self) -> bytes:
        """The listener's certificate on a new connection."""
        with self.connect(self.tls_of(self.client)) as connection:
            certificate: bytes = connection.socket.getpeercert(binary_form=True)
        return certificate

    def assert_shown(self, holder: Holder) -> None:
        """Check the listener's certificate on a new connection."""
        self.assertEqual(self.shown(), holder.certificate.public_bytes(Encoding.DER))

    def assert_turned_away(self, connection: Connection) -> None:
        """Check that the next request of a connection is refused and ends it."""
        asked = len(self.model.asked)
        response = connection.ask(post(b'"too late"') + post(b'"behind"'))
        self.assert_problem(response, 403, "forbidden")
        self.assertEqual((response.headers["connection"], connection.read_to_end()), ("close", b""))
        self.assertEqual(len(self.model.asked), asked)

    def reloads(self, what: str, outcome: str) -> float:
        """The count of reloads with this outcome."""
        return self.metric(f'provider_gateway_reloads_total{{outcome="{outcome}",what="{what}"}}')
