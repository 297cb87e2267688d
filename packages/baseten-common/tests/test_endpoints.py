from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, strategies as st

from livekit.plugins.baseten_common import Endpoint

B = "api.baseten.co"

FORMS = [
    (Endpoint.model("abc1"), f"https://model-abc1.{B}/environments/production"),
    (Endpoint.chain("abc1"), f"https://chain-abc1.{B}/environments/production"),
    (
        Endpoint.model("abc1", environment="eu-staging"),
        f"https://model-abc1.{B}/environments/eu-staging",
    ),
    (Endpoint.model("abc1", deployment_id="dep9"), f"https://model-abc1.{B}/deployment/dep9"),
    (Endpoint.chain("abc1", development=True), f"https://chain-abc1.{B}/development"),
    (Endpoint.model("abc1", environment="eu", regional=True), f"https://model-abc1-eu.{B}"),
    (Endpoint.chain("abc1", regional=True), f"https://chain-abc1-production.{B}"),
]


@pytest.mark.parametrize(("endpoint", "target"), FORMS)
@pytest.mark.parametrize("route", ["predict", "run_remote", "wake", "sync/v1", "websocket"])
def test_every_form_is_built_and_read_back(endpoint: Endpoint, target: str, route: str) -> None:
    url = f"{target}/{route}"
    if route == "websocket":
        url = url.replace("https:", "wss:")
    assert endpoint.route(route) == url  # type: ignore[arg-type]
    read = Endpoint.parse(url)
    assert read.url == url
    for name in ("kind", "id", "environment", "deployment_id", "development", "regional"):
        assert getattr(read, name) == getattr(endpoint, name)
    assert read.route("wake") == f"{target}/wake"


def test_the_short_form_of_production() -> None:
    read = Endpoint.parse(f"https://model-abc1.{B}/production/predict")
    assert read.environment == "production"
    assert read.post_url() == f"https://model-abc1.{B}/production/predict"


def test_a_local_stand_in_has_the_label_in_the_path() -> None:
    read = Endpoint.parse("ws://127.0.0.1:81/chain-abc1/environments/production/websocket")
    assert (read.kind, read.id) == ("chain", "abc1")
    assert read.route("wake") == "http://127.0.0.1:81/chain-abc1/environments/production/wake"
    regional = Endpoint.parse("http://localhost:81/model-abc1-eu/predict")
    assert regional.regional
    assert regional.route("websocket") == "ws://localhost:81/model-abc1-eu/websocket"


def test_post_url_follows_the_kind() -> None:
    assert Endpoint.model("a").post_url().endswith("/predict")
    assert Endpoint.chain("a").post_url().endswith("/run_remote")
    wss = f"wss://model-a.{B}/environments/production/websocket"
    assert Endpoint.parse(wss).post_url() == f"https://model-a.{B}/environments/production/predict"


def test_a_model_has_one_websocket_and_a_chain_two() -> None:
    at = f"wss://chain-a.{B}/environments/production"
    assert Endpoint.model("a").websocket_urls() == (
        f"wss://model-a.{B}/environments/production/websocket",
    )
    assert Endpoint.chain("a").websocket_urls() == (f"{at}/websocket", f"{at}/run_remote")
    older = Endpoint.parse(f"{at}/run_remote")
    assert older.websocket_urls() == (f"{at}/run_remote", f"{at}/websocket")


def test_any_full_url_is_used_as_it_stands() -> None:
    for url in ("wss://proxy.example/stt?x=1", f"wss://model-a.{B}/odd/path", "ws://[::1]:1/"):
        endpoint = Endpoint.parse(url)
        assert endpoint.kind == "custom"
        assert endpoint.websocket_urls() == (url,)
        with pytest.raises(ValueError, match="wake"):
            endpoint.route("wake")
    assert Endpoint.parse("https://proxy.example/x").websocket_urls() == ("wss://proxy.example/x",)


def test_a_query_stays_out_of_sight() -> None:
    endpoint = Endpoint.parse("wss://proxy.example/stt?token=s3cret")
    assert "s3cret" not in str(endpoint)
    assert "s3cret" not in repr(endpoint)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "blank"),
        ("  ", "blank"),
        (f"model-a.{B}/predict", "full URL"),
        ("ftp://x/y", "full URL"),
        ("wss://", "full URL"),
        ("https://[bad/", "isn't a URL"),
        ("https://h:99999/", "isn't a URL"),
        (f"ws://model-a.{B}/websocket", "unencrypted"),
        ("http://192.168.0.1/predict", "unencrypted"),
        ("https://user:s3cret@h/predict", "credentials"),
        ("https://h/pre dict", "white space"),
        ("https://h/\r\nX-Evil: 1", "control"),
        ("wss://model-{model_id}.api.baseten.co/websocket", "placeholder"),
        ("https://h/#part", "fragment"),
    ],
)
def test_an_unusable_url_says_why(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        Endpoint.parse(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "a.localhost"])
def test_plain_text_is_for_loopback(host: str) -> None:
    assert Endpoint.parse(f"ws://{host}:8080/x").websocket_urls() == (f"ws://{host}:8080/x",)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "blank"),
        (" ", "blank"),
        ("model-abc1", "leave out the 'model-'"),
        (f"https://model-abc1.{B}/predict", "model_endpoint="),
        ("your-model-id", "letters and digits"),
        ("a/b", "letters and digits"),
        ("a.evil.example/", "letters and digits"),
    ],
)
def test_a_malformed_id_says_what_a_right_one_is(value: str, why: str) -> None:
    for build in (Endpoint.model, Endpoint.chain):
        with pytest.raises(ValueError, match=why) as caught:
            build(value)
        assert "abcd1234" in str(caught.value)


def test_targets_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="name one of"):
        Endpoint.model("a", environment="x", deployment_id="d")
    with pytest.raises(ValueError, match="name one of"):
        Endpoint.model("a", deployment_id="d", development=True)
    with pytest.raises(ValueError, match="regional"):
        Endpoint.model("a", deployment_id="d", regional=True)
    with pytest.raises(ValueError, match="environment"):
        Endpoint.model("a", environment="a/b")
    with pytest.raises(ValueError, match="environment"):
        Endpoint.model("a", environment="")


def test_arguments_then_the_component_s_variables_then_the_general_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MODEL_ENDPOINT", "MODEL_ID", "CHAIN_ID"):
        monkeypatch.delenv(f"BASETEN_STT_{name}", raising=False)
    monkeypatch.delenv("BASETEN_MODEL_ENDPOINT", raising=False)
    assert Endpoint.resolve("STT") is None
    general, own = "wss://general.example/", "wss://own.example/"
    monkeypatch.setenv("BASETEN_MODEL_ENDPOINT", general)
    assert str(Endpoint.resolve("STT")) == general
    assert Endpoint.resolve("LLM") is None
    monkeypatch.setenv("BASETEN_STT_CHAIN_ID", "chain1")
    assert Endpoint.resolve("STT") == Endpoint.chain("chain1")
    monkeypatch.setenv("BASETEN_STT_MODEL_ID", "model1")
    assert Endpoint.resolve("STT", environment="eu") == Endpoint.model("model1", environment="eu")
    monkeypatch.setenv("BASETEN_STT_MODEL_ENDPOINT", own)
    assert str(Endpoint.resolve("STT")) == own
    assert str(Endpoint.resolve("TTS")) == general
    assert Endpoint.resolve("STT", chain_id="c") == Endpoint.chain("c")
    assert Endpoint.resolve("STT", model_id="m", chain_id="c") == Endpoint.model("m")
    given_url = Endpoint.resolve("STT", model_endpoint="wss://arg.example/", model_id="m")
    assert str(given_url) == "wss://arg.example/"
    with pytest.raises(ValueError, match="blank"):
        Endpoint.resolve("STT", model_id="")


URL = f"https://model-abc1.{B}/environments/eu/predict"
TARGETS: list[dict[str, Any]] = [
    {"environment": "staging"},
    {"environment": "production"},
    {"deployment_id": "dep9"},
    {"development": True},
    {"regional": True},
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("url", [URL, "wss://proxy.example/"])
@pytest.mark.parametrize(
    "source", ["model_endpoint=", "BASETEN_STT_MODEL_ENDPOINT", "BASETEN_MODEL_ENDPOINT"]
)
def test_a_target_that_a_full_url_would_ignore_is_refused(
    monkeypatch: pytest.MonkeyPatch, source: str, url: str, target: dict[str, Any]
) -> None:
    given = {}
    if source == "model_endpoint=":
        given["model_endpoint"] = url
    else:
        monkeypatch.setenv(source, url)
    (name,) = target
    with pytest.raises(ValueError, match=rf"^{source} is a full URL.*leave out {name}=, or pass"):
        Endpoint.resolve("STT", **given, **target)
    assert Endpoint.resolve("STT", model_id="abc1", **target) == Endpoint.model("abc1", **target)


def test_a_target_that_the_full_url_names_too_is_welcome() -> None:
    for endpoint, target in FORMS:
        given: dict[str, Any] = {
            "environment": endpoint.environment or None,
            "deployment_id": endpoint.deployment_id or None,
            "development": endpoint.development,
            "regional": endpoint.regional,
        }
        url = f"{target}/predict"
        assert str(Endpoint.resolve("TTS", model_endpoint=url, **given)) == url


@pytest.mark.parametrize(
    ("given", "ignored"),
    [
        ({"model_endpoint": URL}, ""),
        ({"model_endpoint": URL, "model_id": "abc1"}, "model_id="),
        ({"model_endpoint": URL, "model_id": "a", "chain_id": "b"}, "model_id= and chain_id="),
        ({"model_id": "a", "chain_id": "b"}, "chain_id="),
    ],
)
def test_ids_that_others_go_before_are_named_in_the_log(
    caplog: pytest.LogCaptureFixture, given: dict[str, str], ignored: str
) -> None:
    with caplog.at_level("WARNING"):
        assert Endpoint.resolve("STT", **given)  # type: ignore[arg-type]
    expected = [f"{next(iter(given))}= goes before {ignored}, which is ignored"] if ignored else []
    assert caplog.messages == expected


@pytest.mark.parametrize("component", ["STT", "TTS"])
def test_what_is_missing_names_all_that_would_do(component: Literal["STT", "TTS"]) -> None:
    told = str(Endpoint.missing(component))
    for name in ("MODEL_ENDPOINT", "MODEL_ID", "CHAIN_ID"):
        assert f"BASETEN_{component}_{name}" in told
        assert f"{name.lower()}=" in told


@given(st.text(max_size=80))
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    for candidate in (text, f"wss://{text}", f"https://model-{text}.{B}/predict"):
        try:
            Endpoint.parse(candidate).websocket_urls()
        except ValueError as e:
            assert str(e)  # noqa: PT017
    try:
        url = Endpoint.model(text).route("predict")
    except ValueError:
        return
    assert url == f"https://model-{text.strip()}.{B}/environments/production/predict"
