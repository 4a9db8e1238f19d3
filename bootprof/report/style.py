# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The style sheet of the report: light and dark, narrow and wide, on a screen and on paper."""

from __future__ import annotations

from bootprof.report.palette import THEMES, variables

RULES = """\
:root{color-scheme:light dark;%(light)s}
@media (prefers-color-scheme:dark){:root{%(dark)s}}
@media print{:root{%(light)s}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:0 20px 40px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,"Segoe UI","DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.25;margin:1.4rem 0 .3rem}
h2{font-size:1.25rem;margin:2.6rem 0 .5rem;padding-top:.7rem;border-top:1px solid var(--grid)}
h3{font-size:.95rem;margin:.8rem 0 0}
p{max-width:75ch;margin:.4rem 0}
.lead,figcaption,.note,footer{color:var(--faint)}
a{color:inherit}
nav ul,.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;padding:0;
margin:.8rem 0}
.legend{font-size:.82rem}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend svg{flex:none}
figure{margin:.6rem 0 0}
figcaption{font-size:.85rem;max-width:85ch;margin-top:.4rem}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%%,480px),1fr));gap:0 36px}
.panel{min-width:0}
.note{border-left:3px solid var(--grid);padding-left:.8rem}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3rem 0;font-size:.95rem}
th,td{padding:.22rem .7rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap;
overflow-wrap:normal}
th:first-child,td.prose,th.prose{text-align:left;padding-left:0}
td.prose{white-space:normal;overflow-wrap:anywhere;min-width:14em}
thead th{border-bottom:2px solid var(--faint);vertical-align:bottom}
tbody th{font-weight:400}
tfoot th,tfoot td{font-weight:600}
.digest{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.8rem}
.less{color:var(--less);font-weight:600}
.more{color:var(--more);font-weight:600}
summary{cursor:pointer;margin:.6rem 0}
svg{font-size:11.5px;fill:var(--ink)}
svg.plot{display:block;overflow:visible;width:calc(100%% - 64px);margin:40px 8px 46px 56px}
svg.bars{display:block;overflow:visible;width:calc(100%% - 14px);margin:2px 7px}
svg.area{overflow:hidden}
.grid line{stroke:var(--grid);shape-rendering:crispEdges}
.line{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.thin{stroke-width:1}
.target{stroke:var(--ink)}
.tick,.title,.value{fill:var(--faint)}
.middle{text-anchor:middle}
.end{text-anchor:end}
.halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.paper{fill:var(--empty)}
@media (max-width:560px){body{padding:0 12px 30px}.second{display:none}h1{font-size:1.35rem}
th,td{padding:.22rem .3rem}th{white-space:normal}tbody th{min-width:8.5em}
table{font-size:.8rem}td.prose{min-width:9em}}
@media print{body{max-width:none;font-size:10pt}nav{display:none}
h2,h3,.legend,caption{break-after:avoid}figure,.panel,svg,tr,.scroll{break-inside:avoid}
.scroll{overflow:visible}
.panels{grid-template-columns:1fr 1fr}tfoot{display:table-row-group}
table{font-size:7.5pt}th,td{padding:.15rem .35rem}
svg,.legend{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def style_sheet() -> str:
    """Return the style sheet."""
    return RULES % {name: variables(theme) for name, theme in THEMES.items()}
