"""Run folders in; tables, pictures and results folders out."""

from widevalley.report.claims import write_claims
from widevalley.report.copied_runs import write_report, write_results
from widevalley.report.curves import draw_curves
from widevalley.report.flatness_figures import draw_flatness, flatness_cells
from widevalley.report.groups import (
    Group,
    diverged_in,
    find_groups,
    find_runs,
    folders_in,
    group_runs,
)
from widevalley.report.hardening_table import (
    hardening_cells,
    hardening_differences,
    write_hardening,
)
from widevalley.report.landscape_figures import (
    draw_line,
    draw_planes,
    draw_slices,
    draw_toy,
    draw_traces,
)
from widevalley.report.pac_bayes_table import broken_bounds, pac_bayes_cells, write_pac_bayes
from widevalley.report.page import write_page
from widevalley.report.page_pictures import pictures_in
from widevalley.report.paper_tables import (
    copy_reproduction,
    sgld_table,
    table_1,
    write_reproduction,
)
from widevalley.report.pictures import redraw
from widevalley.report.power import write_power
from widevalley.report.running import running_cells
from widevalley.report.spectrum_figures import (
    draw_density,
    draw_fisher,
    draw_spectrum,
    spectrum_cells,
)
from widevalley.report.table import markdown_table, rich_table, run_cells
from widevalley.report.theory_page import write_theory
from widevalley.report.tournament_table import tournament_cells, write_tournament
from widevalley.report.trials import trial_table

__all__ = [
    "Group",
    "broken_bounds",
    "copy_reproduction",
    "diverged_in",
    "draw_curves",
    "draw_density",
    "draw_fisher",
    "draw_flatness",
    "draw_line",
    "draw_planes",
    "draw_slices",
    "draw_spectrum",
    "draw_toy",
    "draw_traces",
    "find_groups",
    "find_runs",
    "flatness_cells",
    "folders_in",
    "group_runs",
    "hardening_cells",
    "hardening_differences",
    "markdown_table",
    "pac_bayes_cells",
    "pictures_in",
    "redraw",
    "rich_table",
    "run_cells",
    "running_cells",
    "sgld_table",
    "spectrum_cells",
    "table_1",
    "tournament_cells",
    "trial_table",
    "write_claims",
    "write_hardening",
    "write_pac_bayes",
    "write_page",
    "write_power",
    "write_report",
    "write_reproduction",
    "write_results",
    "write_theory",
    "write_tournament",
]
