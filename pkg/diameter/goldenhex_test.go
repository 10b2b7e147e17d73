package diameter

const cerFreeDiameter = ``

const airFreeDiameter = ``
