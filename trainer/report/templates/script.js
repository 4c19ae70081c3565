const config = {responsive: true, displayModeBar: false, displaylogo: false, scrollZoom: false, doubleClick: false};
for (const figure of document.querySelectorAll("script[type='application/json']")) {
  Plotly.newPlot(figure.previousElementSibling, {...JSON.parse(figure.textContent), config});
}
