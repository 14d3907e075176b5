"""What every store does for callers who go away."""

import asyncio
import random

from service.core.store import Store
from tests.contracts.records import (
    HERE,
    AuditTrail,
    a_credential,
    a_seal,
    an_audit,
    changed,
    create,
    listed,
    update,
)


class CancellationContract:
    """All or nothing (requirement 40)."""

    # Cancellation

    async def test_a_cancelled_write_is_done_wholly_or_not_at_all(self, store: Store, audit_trail: AuditTrail) -> None:
        """Requirement 40."""
        chance = random.Random(40)
        ones = [a_credential(f"n{number:03}", type=chance.choice(["key", "arn"])) for number in range(120)]
        for start in range(0, len(ones), 8):
            tasks = [asyncio.create_task(create(store, one)) for one in ones[start : start + 8]]
            for task in chance.sample(tasks, len(tasks)):
                await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.0005, 0.001, 0.002]))
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await create(store, a_credential("last"))
        found = [await store.get_sealed_credential(HERE, one.name) for one in ones]
        kept = [one for one, sealed in zip(ones, found, strict=True) if sealed is not None]
        assert 0 < len(kept) < len(ones), "the cancellations must fall before some writes and after others"
        assert [sealed for sealed in found if sealed is not None] == [(one, a_seal(one.name)) for one in kept]
        assert {audit.target for audit in await audit_trail()} >= {one.id for one in kept}
        assert len(await audit_trail()) == len(kept) + 1
        names = sorted([one.name for one in kept] + ["last"])
        assert await listed(store, limit=1000) == (names, len(names))

    async def test_a_cancelled_update_is_done_wholly_or_not_at_all(self, store: Store, audit_trail: AuditTrail) -> None:
        """Requirement 40."""
        chance = random.Random(41)
        one = a_credential()
        await create(store, one)
        for _ in range(60):
            before = await store.get_credential(HERE, "one")
            assert before is not None
            new = changed(before, type="arn" if before.type == "key" else "key", version=before.version + 1)
            task = asyncio.create_task(update(store, new, a_seal(str(new.version))))
            await asyncio.sleep(chance.choice([0, 0.0003, 0.001, 0.003]))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.append_audit(an_audit(target="in between"))
            found, sealed = await store.get_sealed_credential(HERE, "one")
            assert found in (before, new)
            assert sealed == a_seal("one" if found.version == 1 else str(found.version))
            assert await listed(store, type_=found.type) == (["one"], 1)
        found = await store.get_credential(HERE, "one")
        assert len(await audit_trail()) == 60 + found.revision

    async def test_a_cancelled_read_disturbs_no_other(self, store: Store) -> None:
        one = a_credential()
        await create(store, one)
        tasks = [asyncio.create_task(store.get_credential(HERE, "one")) for _ in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [one] * 20
