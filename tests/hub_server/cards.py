"""README front matter: the checks that the Hub makes before it takes a card, and the tags it derives from one."""
import re

import yaml

LICENSES = set("""apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0
cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc intel-research h-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
other""".split())
SPACE_SDKS = ("gradio", "docker", "static", "streamlit")
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
TEXT_LISTS = ("tags", "datasets", "metrics", "models", "language", "base_model", "license")
REPO_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]{1,96}")


def front_matter(text: str) -> dict | None:
    """The block between the opening --- lines: None without one, a ValueError when it is no YAML mapping."""
    match = re.match(r"\s*---[ \t]*\r?\n(.*?\n)?---[ \t]*(\r?\n|$)", text, re.DOTALL)
    if not match:
        return None
    try:
        data = yaml.safe_load(match[1] or "")
    except yaml.YAMLError as error:
        raise ValueError(f"YAML Metadata Error: {error}") from None
    if data is not None and not isinstance(data, dict):
        raise ValueError("YAML Metadata Error: the metadata block should be a mapping")
    return data or None


def check(text: str, repo_type: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) as the Hub's validate-yaml words them."""
    try:
        data = front_matter(text)
    except ValueError as error:
        return [str(error)], []
    if data is None:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = []
    for field in TEXT_LISTS:
        values = data.get(field)
        listed = values if isinstance(values, list) else [values]
        if values is not None and not all(isinstance(value, str) for value in listed):
            errors.append(f'"{field}" must be a string or an array of strings')
        elif values is not None and field in ("datasets", "models", "base_model"):
            errors += [f'"{field}[{i}]" with value "{value}" is not valid. Use a model or dataset id from https://hf.co'
                       for i, value in enumerate(listed) if not REPO_ID.fullmatch(value)]
    for license in data["license"] if isinstance(data.get("license"), list) else [data.get("license")]:
        if isinstance(license, str) and license not in LICENSES:
            errors.append(f'"license" must be one of [{", ".join(sorted(LICENSES))}]')
    if "model-index" in data and repo_type == "model":
        errors += check_model_index(data["model-index"])
    if repo_type == "space":
        errors += check_space(data)
    return errors, []


def check_model_index(index) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            errors.append(f'"model-index[{i}].name" is required')
            continue
        for j, result in enumerate(model.get("results") or []):
            where = f"model-index[{i}].results[{j}]"
            missing = [f'"{where}.{key}" is required' for key in ("task", "metrics") if not result.get(key)]
            missing += [f'"{where}.dataset.{key}" is required' for key in ("name", "type")
                        if "dataset" in result and not result["dataset"].get(key)]
            errors += missing
    return errors


def check_space(data: dict) -> list[str]:
    errors = []
    if data.get("sdk") not in SPACE_SDKS:
        errors.append(f'"sdk" must be one of [{", ".join(SPACE_SDKS)}]')
    errors += [f'"{key}" must be one of [{", ".join(COLORS)}]' for key in ("colorFrom", "colorTo")
               if key in data and data[key] not in COLORS]
    if len(str(data.get("short_description", ""))) > 60:
        errors.append('"short_description" length must be less than or equal to 60 characters long')
    return errors


def as_list(value) -> list:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def tags(card: dict, config: dict) -> list[str]:
    """The labels under which the Hub lists a repository: its own, and those that its card and config.json imply."""
    own = [card.get("library_name"), config.get("model_type"), *as_list(card.get("tags")), *as_list(card.get("language")),
           card.get("pipeline_tag")]
    linked = [f"{prefix}:{value}" for prefix, key in (("dataset", "datasets"), ("license", "license"), ("base_model", "base_model"))
              for value in as_list(card.get(key))]
    return list(dict.fromkeys(str(tag) for tag in own + linked if tag)) + ["region:us"]
