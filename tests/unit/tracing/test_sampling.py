"""Which traces are recorded."""

from __future__ import annotations

import random
from typing import get_args

from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.trace_settings import SamplerName
from provider_gateway.tracing.context import TraceContext
from provider_gateway.tracing.sampling import Sampling

LOW, HIGH = "0" * 31 + "1", "f" * 32


class SamplingTests(SynchronousTestCase):
    """Each sampler, at the begin of a trace and below a caller's span."""

    def test_each(self) -> None:
        """Samplers "by parent" follow the caller; the others decide by themselves, those by ratio by the trace's id."""
        expected = {
            "always_on": (True, True, True, True),
            "always_off": (False, False, False, False),
            "traceidratio": (True, False, True, False),
            "parentbased_always_on": (True, True, True, False),
            "parentbased_always_off": (False, False, True, False),
            "parentbased_traceidratio": (True, False, True, False),
        }
        self.assertEqual(set(expected), set(get_args(SamplerName)))
        for name, decisions in expected.items():
            sampling = Sampling(name, 0.5)
            found = (
                sampling.records(LOW, None),
                sampling.records(HIGH, None),
                sampling.records(LOW, TraceContext(LOW, "1" * 16, True)),
                sampling.records(HIGH, TraceContext(HIGH, "1" * 16, False)),
            )
            self.assertEqual(found, decisions, name)

    def test_as_sdk(self) -> None:
        """Random traces, with and without a caller, are decided as by the samplers of OpenTelemetry's SDK."""
        chance = random.Random(1)
        ratio = 0.3
        roots = {
            "always_on": sdk.ALWAYS_ON,
            "always_off": sdk.ALWAYS_OFF,
            "traceidratio": sdk.TraceIdRatioBased(ratio),
        }
        for name, root in roots.items():
            for prefix, sampler in (("", root), ("parentbased_", sdk.ParentBased(root))):
                ours = Sampling(prefix + name, ratio)  # type: ignore[arg-type] # one of the names
                for _ in range(300):
                    trace_id = f"{chance.getrandbits(128):032x}"
                    parent = chance.choice((None, True, False))
                    context, told = Context(), None
                    if parent is not None:
                        told = TraceContext(trace_id, "1" * 16, parent)
                        flags = TraceFlags(int(parent))
                        span = NonRecordingSpan(SpanContext(int(trace_id, 16), 1, is_remote=True, trace_flags=flags))
                        context = set_span_in_context(span, context)
                    expected = sampler.should_sample(context, int(trace_id, 16), "x").decision
                    self.assertEqual(ours.records(trace_id, told), expected is sdk.Decision.RECORD_AND_SAMPLE)
