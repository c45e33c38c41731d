"""The paper's figures and the HTML pages. Imports every other package; none imports it."""
