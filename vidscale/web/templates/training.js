const plots = document.getElementById("plots");
const figure = JSON.parse(document.getElementById("figure").textContent);
keepDrawn(plots, (width, stretch) => {
  const { axis, layout, config } = themedPlot(width, figure.layout.height * stretch);
  const axes = Object.fromEntries(Object.entries(figure.layout).filter(([key]) => /^[xy]axis/.test(key)).map(([key, own]) => [key, { ...axis, ...own }]));
  Plotly.react(plots, figure.data, { ...figure.layout, ...layout, ...axes }, config);
});
