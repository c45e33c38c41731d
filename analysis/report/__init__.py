"""The paper's figures and the HTML pages. Imports every other room; no room imports it."""
