# heap: 96K
# vm31: no, asyncio waits
"""The watchdog is fed while tasks keep their word, and no longer."""

import asyncio

from node.watch import CONTACT, LOOP, Watch


class Bowl:
    def __init__(self):
        self.meals = 0

    def feed(self):
        self.meals += 1


def test_feeds_at_once_and_while_nothing_is_expected():
    bowl = Bowl()
    watch = Watch(bowl.feed)

    async def main():
        task = asyncio.create_task(watch.run())
        await asyncio.sleep_ms(5)
        task.cancel()

    asyncio.run(main())
    assert bowl.meals == 1


def test_an_overdue_task_ends_the_feeding_and_its_word_in_time_does_not():
    bowl = Bowl()
    watch = Watch(bowl.feed)
    watch.expect(LOOP, 5)
    watch.expect(CONTACT, 1000)
    assert watch.late() is None

    async def main():
        await asyncio.sleep_ms(10)
        assert watch.late() == LOOP
        watch.feed()
        assert bowl.meals == 0
        await watch.run()  # ends by itself
        watch.expect(LOOP, 1000)
        watch.feed()

    asyncio.run(main())
    assert bowl.meals == 1


def test_a_task_that_is_done_is_not_missed():
    bowl = Bowl()
    watch = Watch(bowl.feed)
    watch.expect(CONTACT, -1)
    assert watch.late() == CONTACT
    watch.done(CONTACT)
    assert watch.late() is None
