import asyncio

import pytest

from interlock.errors import TimedOut
from interlock.execution.alarm import Alarm


async def test_it_interrupts_a_task_that_waits():
    alarm = Alarm(0.01)
    alarm.on()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.Event().wait()
    assert alarm.rang()
    assert asyncio.current_task().cancelling() == 0


async def test_it_leaves_a_task_alone_that_does_something_else():
    alarm = Alarm(0.01)
    alarm.on()
    alarm.off()
    await asyncio.sleep(0.03)
    assert not alarm.rang()
    with pytest.raises(TimedOut):
        alarm.on()


async def test_somebody_elses_cancellation_is_not_its_own():
    async def wait():
        alarm = Alarm(60.0)
        alarm.on()
        try:
            await asyncio.Event().wait()
        finally:
            alarm.stop()
            seen.append(alarm.rang())

    seen = []
    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [False]


async def test_when_both_cancel_the_other_one_counts():
    async def wait():
        alarm = Alarm(0.01)
        alarm.on()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asyncio.current_task().cancel()  # a second one, before anybody asked whose the first was
            seen.append(alarm.rang())
            raise

    seen = []
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(wait())
    assert seen == [False]


async def test_a_stopped_alarm_is_silent():
    alarm = Alarm(0.0)
    alarm.on()
    alarm.stop()
    await asyncio.sleep(0.01)
    assert not alarm.rang()
