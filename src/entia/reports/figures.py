"""Which function draws which figure: readouts in, a matplotlib figure out."""

import pandas as pd
from matplotlib.figure import Figure

from entia.planning import drawings
from entia.planning.drawings import Drawing
from entia.reports import diet_figures, linear, theory_figures, views, widths


def figure(drawing: Drawing, rows: pd.DataFrame) -> Figure:
    """The figure of a kind, from the rows that it shows, without title and conditions."""
    match drawing:
        case drawings.WidthCurve():
            return widths.width_curve(rows)
        case drawings.BestWeight():
            return widths.best_weight(rows)
        case drawings.HeatMap():
            return widths.heat_map(rows)
        case drawings.Convergence(show=show, beside=beside):
            return views.convergence(rows, show, beside)
        case drawings.SampleEfficiency():
            return views.sample_efficiency(rows)
        case drawings.Pareto():
            return views.pareto(rows)
        case drawings.ViewsCurve():
            return views.views_curve(rows)
        case drawings.Spectra():
            return views.spectra(rows)
        case drawings.Dynamics():
            return theory_figures.dynamics(rows)
        case drawings.GraphSpectrum():
            return theory_figures.graph_spectrum()
        case drawings.DietLoss():
            return diet_figures.loss(rows)
        case drawings.DietSizes():
            return diet_figures.sizes(rows)
        case drawings.DietCurves(along=along, panel=panel):
            return diet_figures.curves(rows, along, panel)
        case drawings.DietBatch():
            return diet_figures.batch(rows)
        case drawings.DietRank():
            return diet_figures.rank(rows)
        case drawings.DietLinearOptimum():
            return linear.linear_optimum()
        case drawings.DietInteractions():
            return linear.interactions()
        case other:
            raise ValueError(f"{other!r} is not a figure")
