"""A message may quote what was refused; a key in it is not repeated."""

from __future__ import annotations

import pytest

from pairwright.components.errors import DatasetError, InvalidRecipe, PairwrightError
from pairwright.components.models.text_backends.settings import OpenAITextModel

SECRET = "sk-0123456789"


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@host/v1",
        f"https://{SECRET}@host/v1",
        f"https://host/v1?api_key={SECRET}",
        f"https://host/v1?a=b&access_token={SECRET}&c=d",
        f"ftp://me:{SECRET}@host/v1",
    ],
)
def test_a_refused_model_address_does_not_print_its_key(url):
    with pytest.raises(InvalidRecipe) as refused:
        OpenAITextModel.parse({"uses": "openai", "url": url, "model": "m"}, "recipe.yaml: text_model")
    assert SECRET not in str(refused.value)
    assert "host/v1" in str(refused.value)


def test_no_error_of_ours_prints_a_key_and_the_rest_stays():
    said = str(DatasetError(f"s3://{SECRET}@bucket/x?X-Amz-Signature={SECRET}&n=3: no such file; mail a@b.example"))
    assert said == "s3://bucket/x?X-Amz-Signature=...&n=3: no such file; mail a@b.example"
    assert PairwrightError("plain", 3).args == ("plain", 3)
