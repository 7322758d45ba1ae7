"""The installation's first admin key: made once, kept beside an embedded database, shown at each start."""

from app.cli.actor import CLI
from app.cli.files import write_whole
from app.cli.place import Place
from app.infra.ids import well_formed
from app.runtime import Runtime

ADMIN_FILE = "admin.key"


async def first_admin_key(runtime: Runtime, place: Place) -> str | None:
    """The text of an admin key; None where it was shown before and is not ours to keep.

    Beside an embedded database a lost text is replaced by a new key: whoever can read the folder is the admin anyway.
    """
    text = await runtime.services.access.ensure_admin_key()
    if place.embedded is None:
        return text
    path = place.embedded.data_dir / ADMIN_FILE
    if text is None and path.exists() and well_formed(kept := path.read_text(encoding="utf-8").strip()):
        return kept
    if text is None:
        made = await runtime.services.access.create(CLI, merchant_id=None, name="admin key of up", scopes=("admin",))
        text = made.text
    write_whole(path, text + "\n")
    return text
