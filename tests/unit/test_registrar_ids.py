"""Ids are unique: for several instances on a host, and for the workers of one process group."""

import asyncio
import os
import random
import re
from dataclasses import replace

from asyncsd._registrar import Registrar
from asyncsd.backends.memory import MemoryBackend
from tests.support.registry import ME, World


async def test_an_id_names_service_host_and_port_and_ends_in_eight_hex_digits() -> None:
    async with World() as world:
        registrar = await world.ready()
        assert re.fullmatch(r"greeter-10\.0\.0\.7-8080-[0-9a-f]{8}", registrar.id)


async def test_an_id_of_the_user_s_own_is_taken_as_it_is() -> None:
    async with World() as world:
        registrar = world.registrar(replace(ME, id="greeter-1"))
        assert registrar.id == "greeter-1"
        world.run(registrar)
        await registrar.ready()
        assert [instance.id for instance in await world.instances()] == ["greeter-1"]


async def test_an_id_stays_when_the_registry_forgets() -> None:
    async with World() as world:
        registrar = await world.ready()
        before = registrar.id
        world.backend.memory.clear()
        await world.clock.advance(5.0)
        assert [instance.id for instance in await world.instances()] == [before]
        assert registrar.id == before


async def test_two_with_the_same_random_numbers_have_different_ids() -> None:
    async with World() as world:
        same = [Registrar(world.backend, ME, clock=world.clock, rng=random.Random(7)) for _ in range(2)]
        for registrar in same:
            world.run(registrar)
            await registrar.ready()
        assert len({registrar.id for registrar in same}) == 2


def test_workers_forked_from_one_process_have_ids_of_their_own() -> None:
    backend = MemoryBackend()
    registrar = Registrar(backend, ME)

    async def run() -> tuple[str, float]:
        async with backend:
            task = asyncio.get_running_loop().create_task(registrar.run())
            await registrar.ready()
            task.cancel()
            await asyncio.wait((task,))
        return registrar.id, registrar._rng.random()

    told: list[list[str]] = []
    for _ in range(3):
        reader, writer = os.pipe()
        worker = os.fork()
        if worker == 0:
            try:
                os.write(writer, " ".join(map(str, asyncio.run(run()))).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            told.append(answer.read().split())
        os.waitpid(worker, 0)
    ids, draws = zip(*told, strict=True)
    assert all(id.startswith("greeter-10.0.0.7-8080-") for id in ids)
    assert len(set(ids)) == 3
    assert len(set(draws)) == 3, "their heartbeats would come together"
