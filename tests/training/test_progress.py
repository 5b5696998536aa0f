import time

from training.progress import Clock, Progress


def test_time_of_steps_is_told_from_maintenance_on_both_clocks(monkeypatch):
    now = {"monotonic": 10.0, "process_time": 3.0}
    for name in now:
        monkeypatch.setattr(time, name, lambda name=name: now[name])
    progress = Progress(nimg=500)
    clock = Clock(progress)
    now.update(monotonic=14.0, process_time=5.0)
    clock.lap()
    with clock.maintenance():
        now.update(monotonic=20.0, process_time=9.0)
    assert (progress.elapsed, progress.maintenance) == (10.0, 6.0)
    assert progress.tick_seconds() == {
        "sec_per_tick": 4.0, "sec_per_kimg": 8.0, "maintenance_sec": 6.0, "processor_sec_per_tick": 2.0,
    }  # fmt: skip
    progress.end_tick()
    now.update(monotonic=21.0, process_time=9.5)
    progress.nimg += 100
    clock.lap()
    assert progress.tick_seconds()["processor_sec_per_tick"] == 0.5
