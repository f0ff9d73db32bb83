"""The pages around the content of reports, for Jinja2 with ``autoescape``."""

from __future__ import annotations

from typing import Any

import jinja2

_BASE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 92rem; padding: 1.5rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; padding-bottom: .25rem; }
p, figcaption, caption { max-width: 60rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
caption, figcaption, .note { text-align: left; color: #4a4a4a; padding-bottom: .5rem; }
.note { margin: 0; overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0;
  border-top: 1px solid #ddd; overflow-wrap: anywhere; }
th { font-weight: 600; }
th { overflow-wrap: normal; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.accuracies td:last-child { min-width: 10rem; }
code, pre { font: .85rem/1.4 ui-monospace, monospace; }
pre { overflow-x: auto; background: #f5f5f5; padding: 1rem; }
summary { cursor: pointer; }
figure { margin: 1rem 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1rem; }
.curves figure { margin: .5rem 0; }
.curves img { width: 100%; }
.scroll { overflow-x: auto; }
.neighbors img { display: block; max-width: none; width: 6.5rem; height: 6.5rem;
  object-fit: contain; }
.neighbors td, .neighbors th { font-size: .85rem; line-height: 1.3; padding-right: .6rem;
  overflow-wrap: normal; }
.neighbors thead th { vertical-align: bottom; }
.query img { outline: 2px solid #1a1a1a; outline-offset: -2px; }
.same { color: #14532d; font-weight: 600; }
.other { color: #7f1d1d; }
.cosine { color: #4a4a4a; }
.neighbors td span { display: block; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; }
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p>{{ about }}</p>
</header>
<main>
{% block content %}{% endblock %}
</main>
</body>
</html>
"""

_REPORT = """\
{% extends "base" %}
{% block content %}
<h2 id="accuracies">Accuracy of the frozen trunk</h2>
{% if accuracies %}
<p class="note">{{ accuracies_caption }}</p>
<div class="scroll" role="region" aria-labelledby="accuracies" tabindex="0">
<table class="accuracies">
<thead><tr><th scope="col">trunk</th><th scope="col" class="number">kNN, %</th>
<th scope="col" class="number">linear probe, %</th><th scope="col">measured on</th></tr></thead>
<tbody>
{% for row in accuracies %}
<tr><th scope="row">{{ row.title }}</th>
{% for value in row["values"] %}
<td class="number">{{ value }}</td>
{% endfor %}
<td>{{ measured }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}
<p>{{ no_accuracies }}</p>
{% endif %}

<h2 id="curves">Training</h2>
{% if curves %}
<div class="curves">
{% for curve in curves %}
<figure><img src="{{ curve.source }}" alt="{{ curve.text }}"></figure>
{% endfor %}
</div>
{% else %}
<p>The run's folder has no logs with a loss or an accuracy yet.</p>
{% endif %}
{% if embedding %}
<p class="note">{{ embedding }}</p>
{% endif %}

{% if occlusion %}
<h2 id="occlusion">Accuracy on images of which a part is hidden</h2>
<p class="note">From <code>mscn evaluate --only quick_occlusion</code>. The classifiers learned from
whole images. Of {{ occlusion.images }} validation images the share is hidden after the high-pass
filter, or in the picture before it.</p>
{% for line in occlusion.about %}
<p class="note">{{ line }}</p>
{% endfor %}
<div class="curves">
{% for curve in occlusion.curves %}
<figure><img src="{{ curve.source }}" alt="{{ curve.text }}"></figure>
{% endfor %}
</div>
{% endif %}

{% if boxes %}
<h2 id="boxes">Boxes of objects</h2>
<p class="note">From <code>mscn evaluate --only quick_boxes</code>: mean intersection over union of
boxes that ridge regression predicts from the frozen trunk's last spatial map.</p>
{% for line in boxes.about %}
<p class="note">{{ line }}</p>
{% endfor %}
<table>
<thead><tr><th scope="col">predicted from</th><th scope="col" class="number">mean IoU, %</th></tr>
</thead>
<tbody>
{% for row in boxes.rows %}
<tr><th scope="row">{{ row.title }}</th><td class="number">{{ row.percent }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endif %}

<h2 id="views">What the network saw</h2>
{% if views %}
<figure>
<figcaption>The first batch after filter and masks: an image in each row, one of its views in each
column. Gray is the value 0, no information.</figcaption>
<img src="{{ views }}"
 alt="Grid of masked views of the first batch, an image in each row, a view in each column">
</figure>
{% else %}
<p>The run's folder has no readable picture of its masked views (<code>masked_views.png</code>).</p>
{% endif %}

<h2 id="kernels">First layer</h2>
{% if kernels and "too_small" in kernels %}
<p>{{ kernels.too_small }}</p>
{% elif kernels %}
<figure>
<figcaption>{{ kernels.caption }}</figcaption>
<img src="{{ kernels.source }}" alt="{{ kernels.text }}">
</figure>
{% else %}
<p>The first layer of this trunk is no convolution of the three color channels.</p>
{% endif %}

<h2 id="neighbors">Nearest neighbors</h2>
{% if queries %}
<p>{{ neighbors_text }}</p>
<p class="note">Below each neighbor stand its class (= that of the validation image, &ne; another
one), its place among all pairs of a validation and a training image, and its cosine. Cosines of one
trunk lie close together: the place says whether a neighbor is nearer than others are.</p>
<div class="scroll" role="region" aria-labelledby="neighbors" tabindex="0">
<table class="neighbors">
<thead><tr><th scope="col">validation image</th>
{% for neighbor in queries[0].neighbors %}
<th scope="col">{{ loop.index }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for query in queries %}
<tr><th scope="row" class="query"><img src="{{ query.source }}"
 alt="Validation image of the class {{ query.label }}">{{ query.label }}</th>
{% for neighbor in query.neighbors %}
<td><img src="{{ neighbor.source }}"
 alt="Training image of the class {{ neighbor.label }}, {{ neighbor.top }} of all pairs">
{% if neighbor.same_class %}
<span class="same">= {{ neighbor.label }}</span>
{% else %}
<span class="other">&ne; {{ neighbor.label }}</span>
{% endif %}
<span>{{ neighbor.top }}</span> <span class="cosine">{{ neighbor.similarity }}</span></td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}
<p>Not shown: {{ no_neighbors }}.</p>
{% endif %}

<h2 id="settings">Configuration</h2>
<div class="scroll" role="region" aria-labelledby="settings" tabindex="0">
<table>
<caption>Keys stand below <code>config</code>.</caption>
<thead><tr><th scope="col">setting</th><th scope="col">value</th><th scope="col">key</th></tr>
</thead>
<tbody>
{% for setting in settings %}
<tr><th scope="row">{{ setting.title }}</th><td>{{ setting.value }}</td>
<td><code>{{ setting.key }}</code></td></tr>
{% endfor %}
</tbody>
</table>
</div>
<details>
<summary>All of <code>train_config.yaml</code></summary>
<pre>{{ configuration }}</pre>
</details>
{% endblock %}
"""

_COMPARISON = """\
{% extends "base" %}
{% macro settings(differences, heading, caption) %}
<div class="scroll" role="region" aria-labelledby="{{ heading }}" tabindex="0">
<table>
<caption>{{ caption }}; keys stand below <code>config</code>.</caption>
<thead><tr><th scope="col">key</th>
{% for run in runs %}
<th scope="col">{{ run.name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for key, values in differences.items() %}
<tr><th scope="row"><code>{{ key }}</code></th>
{% for value in values %}
<td>{{ value }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% block content %}
<h2 id="accuracies">Accuracies of the frozen trunks</h2>
<p class="note">The last online evaluation up to each checkpoint, in percent, beside what it is to
beat on the same images. Rows that were measured on other images, or by other settings of the
measurement, do not compare.</p>
<div class="scroll" role="region" aria-labelledby="accuracies" tabindex="0">
<table class="accuracies">
<thead><tr><th scope="col">run</th><th scope="col">checkpoint</th>
<th scope="col" class="number">epochs</th>
{% for title in columns %}
<th scope="col" class="number">{{ title }}</th>
{% endfor %}
<th scope="col">measured on</th></tr></thead>
<tbody>
{% for run in runs %}
<tr><th scope="row"><span class="swatch" style="background: {{ run.color }}"></span>
{{ run.name }}</th><td>{{ run.checkpoint }}</td><td class="number">{{ run.epochs }}</td>
{% for value in run["values"] %}
<td class="number">{{ value }}</td>
{% endfor %}
<td>{{ run.measured }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>

<h2 id="curves">Training</h2>
<div class="curves">
{% for curve in curves %}
<figure><img src="{{ curve.source }}" alt="{{ curve.text }}"></figure>
{% endfor %}
</div>
{% if not curves %}
<p>None of the runs has logs with a loss or an accuracy yet.</p>
{% endif %}

<h2 id="settings">Settings that differ</h2>
{% if differences %}
{{ settings(differences, "settings", "Those that change the weights") }}
{% else %}
<p>None of those that change the weights.</p>
{% endif %}

{% if measurement %}
<h2 id="measurement">Settings of the measurement that differ</h2>
{{ settings(measurement, "measurement", "Those that change accuracies, and no weights") }}
{% endif %}
{% endblock %}
"""

_PAGES = jinja2.Environment(
    loader=jinja2.DictLoader({"base": _BASE, "report": _REPORT, "comparison": _COMPARISON}),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def filled(page: str, content: dict[str, Any]) -> str:
    """A page, "report" or "comparison", with its content."""
    return _PAGES.get_template(page).render(content)
