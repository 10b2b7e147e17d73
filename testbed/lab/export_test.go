package lab

// LeftProcesses lets the tests look for processes of a lab.
var LeftProcesses = leftProcesses
